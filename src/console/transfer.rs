//! How far a download is: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};

use super::{Console, bar, duration, harmless};

/// The least time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows bytes as they arrive.
pub struct Transfer {
    console: Console,
    name: String,
    /// All bytes of the file, where the server says how many.
    total: Option<u64>,
    have: u64,
    /// When this began, and with how many bytes.
    begun: (Instant, u64),
    bar: Option<ProgressBar>,
    /// When the last line was shown.
    last: Instant,
}

impl Transfer {
    /// A transfer of the file called `name`, of whose `total` bytes `have` are here already.
    pub fn new(console: &Console, name: &str, total: Option<u64>, have: u64) -> Self {
        let bar = console.has_bars().then(|| {
            let bar = bar::new(total);
            let shape = match total {
                Some(_) => format!("{{bar:{}.cyan}}", bar::width()),
                None => "{spinner}".to_string(),
            };
            let rest = match total {
                Some(_) => "/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left",
                None => "  {decimal_bytes_per_sec}",
            };
            let template = format!("{{msg}}  {shape} {{decimal_bytes}}{rest}");
            // A template that indicatif refuses would leave its default style, which is still a
            // bar.
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style.progress_chars("━╸ "));
            }
            bar.set_message(harmless(name));
            bar.set_position(have);
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        Self {
            console: console.clone(),
            name: name.to_string(),
            total,
            have,
            begun: (now, have),
            bar,
            last: now,
        }
    }

    /// More bytes are here.
    pub fn advance(&mut self, bytes: u64) {
        self.have += bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(self.have);
        } else if self.last.elapsed() >= LINE_EVERY {
            self.last = Instant::now();
            self.console.line(&self.line());
        }
    }

    /// Takes the bar away. How the transfer ended is for the caller to say.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self) -> String {
        let (begun, first) = self.begun;
        let speed = (self.have - first) as f64 / begun.elapsed().as_secs_f64().max(1e-3);
        let mut line = format!("fetch  {}: {}", self.name, DecimalBytes(self.have));
        if let Some(total) = self.total {
            line.push_str(&format!(" of {}", DecimalBytes(total)));
        }
        line.push_str(&format!(", {}/s", DecimalBytes(speed as u64)));
        if let Some(total) = self.total
            && speed > 0.0
        {
            let left = total.saturating_sub(self.have) as f64 / speed;
            line.push_str(&format!(", {} left", duration(left)));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_size_speed_and_time_left() {
        let console = Console::silent();
        let mut transfer = Transfer::new(&console, "model.pth", Some(3_000_000_000), 1_000_000_000);
        transfer.begun.0 = Instant::now() - Duration::from_secs(10);
        transfer.advance(500_000_000);
        let line = transfer.line();
        let wanted = "fetch  model.pth: 1.50 GB of 3.00 GB, ";
        assert!(
            line.starts_with(wanted) && line.ends_with("/s, 30s left"),
            "{line}"
        );
        let unknown = Transfer::new(&console, "data.jsonl", None, 0).line();
        assert!(
            !unknown.contains(" of ") && !unknown.contains("left"),
            "{unknown}"
        );
    }
}
