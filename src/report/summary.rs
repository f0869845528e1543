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
            files,
        } = self;
        let mut text = format!(
            "{steps} steps in {}, {tokens_per_s:.0} tokens/s; stopped: {why}\nloss {first_loss:.4} at first, \
             {last_loss:.4} at last",
            duration(*seconds)
        );
        for (what, path) in files {
            text.push_str(&format!("\n{what:<11} {path}"));
        }
        text
    }
}
