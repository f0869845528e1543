//! What a run learnt, as records show it.

/// How far the numbers went, and what the model says with them.
pub struct Learnt {
    /// How far each layer went from where it started.
    pub norms: Vec<LayerNorms>,
    /// The norm of the soft prompt.
    pub soft_prompt: Option<f64>,
    /// Some prompts with their answers.
    pub answers: Vec<Answer>,
}

/// How far the parts of a layer went from where they started, as norms.
pub struct LayerNorms {
    /// Of time-mix's token shift.
    pub att_shift: f64,
    /// Of channel-mix's token shift.
    pub ffn_shift: f64,
    /// One a head.
    pub wkv: Vec<f64>,
}

/// What the model answers to a prompt, without and with the learnt state.
pub struct Answer {
    /// What the model reads, its template included.
    pub prompt: String,
    /// What the data answers.
    pub wanted: Option<String>,
    /// What the model answers without the learnt state.
    pub base: String,
    /// What it answers with it.
    pub tuned: String,
}
