//! What a run came to, in a few lines at its end.

use super::History;
use crate::console::duration;

/// The facts of a finished run.
pub struct Summary<'a> {
    /// What the losses are taken from.
    pub history: &'a History,
    /// Step and held-out loss of the best state, if there are held-out examples.
    pub best: Option<(usize, f64)>,
    /// Why the run ended, as a sentence ends.
    pub why: String,
    /// How long it trained.
    pub seconds: f64,
    /// Bytes, the mapped model included.
    pub peak_memory: Option<u64>,
    /// The GPU's, where there is one.
    pub peak_gpu_memory: Option<u64>,
    /// What was written, and where: `("state", "state.pth")`.
    pub files: Vec<(&'static str, String)>,
}

impl Summary<'_> {
    /// Some lines: speed and memory, losses, and the files.
    pub fn text(&self) -> String {
        let Self {
            history: History { steps, evals },
            best,
            why,
            seconds,
            peak_memory,
            peak_gpu_memory,
            files,
        } = self;
        // Of the steps alone: evaluations take time, too.
        let rows: usize = steps.iter().map(|step| step.tokens_seen).sum();
        let took = steps
            .iter()
            .map(|step| step.tokens_seen as f64 / step.tokens_per_s);
        let tokens_per_s = rows as f64 / took.sum::<f64>().max(1e-9);
        let mut text = format!(
            "{} steps in {}, {tokens_per_s:.0} tokens/s",
            steps.len(),
            duration(*seconds)
        );
        if let Some(ranks) = steps.last().and_then(|step| step.ranks) {
            let (mut waited, mut took) = (0.0, 0.0);
            for step in steps {
                let seconds = step.tokens_seen as f64 / step.tokens_per_s;
                took += seconds;
                waited += seconds * step.waiting.unwrap_or(0.0);
            }
            let percent = 100.0 * waited / took.max(1e-9);
            text.push_str(&format!(
                " on {ranks} ranks, which waited for each other {percent:.0} % of the time"
            ));
        }
        let gigabytes = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        if let Some(bytes) = peak_memory {
            let gigabytes = gigabytes(*bytes);
            text.push_str(&format!(", {gigabytes:.2} GiB of memory at most"));
        }
        if let Some(bytes) = peak_gpu_memory {
            let gigabytes = gigabytes(*bytes);
            text.push_str(&format!(", {gigabytes:.2} GiB of the GPU's"));
        }
        text.push_str(&format!("; stopped: {why}"));
        if let (Some(first), Some(last)) = (steps.first(), steps.last()) {
            text.push_str(&format!(
                "\nloss {:.4} at first, {:.4} at last",
                first.loss, last.loss
            ));
        }
        if let (Some(first), Some(last), Some((step, loss))) = (evals.first(), evals.last(), best) {
            text.push_str(&format!(
                "\nheld-out loss {:.4} at first, {:.4} after step {}, {loss:.4} at best, after step {step}",
                first.loss, last.loss, last.step
            ));
        }
        for (what, path) in files {
            text.push_str(&format!("\n{what:<11} {path}"));
        }
        text
    }
}
