//! What a run came to, in a few lines at its end.

use super::duration;

/// The facts of a finished run.
pub struct Summary {
    pub steps: usize,
    pub why: String,
    pub first_loss: f64,
    pub last_loss: f64,
    pub seconds: f64,
    pub tokens_per_s: f64,
    /// Bytes, the mapped model included.
    pub peak_memory: Option<u64>,
    /// What was written, and where: `("state", "state.pth")`.
    pub files: Vec<(&'static str, String)>,
}

impl Summary {
    pub fn text(&self) -> String {
        let Self {
            steps,
            why,
            first_loss,
            last_loss,
            seconds,
            tokens_per_s,
            peak_memory,
            files,
        } = self;
        let mut text = format!(
            "{steps} steps in {}, {tokens_per_s:.0} tokens/s",
            duration(*seconds)
        );
        if let Some(bytes) = peak_memory {
            let gigabytes = *bytes as f64 / f64::from(1 << 30);
            text.push_str(&format!(", {gigabytes:.2} GiB of memory at most"));
        }
        text.push_str(&format!(
            "; stopped: {why}\nloss {first_loss:.4} at first, {last_loss:.4} at last"
        ));
        for (what, path) in files {
            text.push_str(&format!("\n{what:<11} {path}"));
        }
        text
    }
}
