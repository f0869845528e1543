//! A model's files under a run: when another program writes to them, the run ends before it learns
//! from that, and when they are removed, it goes on and says so.

use std::cell::Cell;

use anyhow::Result;

use crate::console::Console;
use crate::files::Survival;
use crate::model::Rwkv;

/// Looks at a model's files between steps.
pub struct ModelFiles<'a> {
    model: &'a Rwkv,
    console: &'a Console,
    is_told: Cell<bool>,
    /// A file that is cut short within a step does not end the program: the look after it does,
    /// once the state is saved.
    _survival: Survival,
}

impl<'a> ModelFiles<'a> {
    /// From here on, bytes that are gone read as zeros until the next look.
    pub fn new(model: &'a Rwkv, console: &'a Console) -> Self {
        Self {
            model,
            console,
            is_told: Cell::new(false),
            _survival: Survival::begin(),
        }
    }

    /// Errors when what was computed since the last look may be wrong.
    pub fn check(&self) -> Result<()> {
        self.model.check_files()?;
        if !self.is_told.get()
            && let Some(path) = self.model.removed_file()
        {
            self.is_told.set(true);
            self.console.line(&format!(
                "note   {} was removed or replaced; the run goes on with what it had opened",
                path.display()
            ));
        }
        Ok(())
    }
}
