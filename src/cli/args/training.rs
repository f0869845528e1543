//! The flags under "Training": what is learnt, how, and when to stop.

use clap::Args;

use super::DEFAULTS;
use crate::cli::values::{
    batch_size, beta, init, not_negative, number, one_of, positive, seed, steps, tune,
};
use crate::data::Walk;
use crate::train::schedule::Shape;
use crate::train::{Adam, Init, Options, Tune};

#[derive(Args, Debug)]
#[command(rename_all = "snake_case", next_help_heading = "Training")]
pub struct TrainingArgs {
    /// How far each step goes (Adam's learning rate)
    #[arg(
        long, default_value_t = DEFAULTS.schedule.learning_rate, value_parser = positive,
        value_name = "NUMBER"
    )]
    learningrate: f64,

    /// Examples in each step
    #[arg(long, default_value_t = DEFAULTS.batch_size, value_parser = batch_size, value_name = "N")]
    batchsize: usize,

    /// Stop after a step whose loss is below this; 0 never does
    #[arg(
        long, default_value_t = DEFAULTS.exit_loss, value_parser = number,
        allow_hyphen_values = true, value_name = "NUMBER"
    )]
    exit_loss: f64,

    /// Stop after this many passes over the data; fractions count
    #[arg(
        long, default_value_t = DEFAULTS.max_epochs, value_parser = positive,
        value_name = "NUMBER"
    )]
    max_epochs: f64,

    /// Stop after this many seconds
    #[arg(
        long, default_value_t = DEFAULTS.max_time, value_parser = positive, value_name = "SECONDS"
    )]
    max_time: f64,

    /// Which examples come next: independent draws, the file's order, or a new order each epoch
    #[arg(
        long, default_value_t = DEFAULTS.walk, value_parser = one_of(&Walk::NAMES),
        value_name = "WALK"
    )]
    dataset_walk: Walk,

    /// What is learnt, a list of: softprompt (a vector before the first token), shift (the token
    /// shifts), wkv (the matrices)
    #[arg(long, default_value_t = DEFAULTS.tune, value_parser = tune, value_name = "GROUPS")]
    tune: Tune,

    /// What the learnt numbers start as: zeros; ones (shifts and wkv, as the original did); small
    /// random ones; the state in the model; or a state's file, such as ./state.pth [default: model
    /// if there is a state in it, otherwise ones]
    #[arg(long, value_parser = init(), value_name = "INIT")]
    init: Option<Init>,

    /// Decides random orders, a random start and drawn answers; the same seed gives the same run
    #[arg(long, default_value_t = DEFAULTS.seed, value_parser = seed, value_name = "N")]
    seed: u64,
}

impl TrainingArgs {
    pub fn put_into(self, options: &mut Options) {
        let Self {
            learningrate,
            batchsize,
            exit_loss,
            max_epochs,
            max_time,
            dataset_walk,
            tune,
            init,
            seed,
        } = self;
        options.schedule.learning_rate = learningrate;
        options.batch_size = batchsize;
        options.exit_loss = exit_loss;
        options.max_epochs = max_epochs;
        options.max_time = max_time;
        options.walk = dataset_walk;
        options.tune = tune;
        options.init = init;
        options.seed = seed;
    }
}

/// What a step does with its gradient.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", next_help_heading = "Training")]
pub struct OptimiserArgs {
    /// The learning rate's way from --learningrate to --lr_final: constant, cosine, linear or
    /// exponential
    #[arg(
        long, default_value_t = DEFAULTS.schedule.shape, value_parser = one_of(&Shape::NAMES),
        value_name = "SHAPE"
    )]
    lr_schedule: Shape,

    /// The learning rate of the last step, unless the schedule is constant [default: a hundredth of
    /// --learningrate]
    #[arg(long, value_parser = positive, value_name = "NUMBER")]
    lr_final: Option<f64>,

    /// Steps in which the learning rate rises to --learningrate
    #[arg(long, default_value_t = DEFAULTS.schedule.warmup, value_parser = steps, value_name = "N")]
    warmup_steps: usize,

    /// Cut the gradient of each group (soft prompt, shifts, wkv) down to this norm; 0 does not
    #[arg(
        long, default_value_t = DEFAULTS.grad_clip, value_parser = not_negative,
        value_name = "NUMBER"
    )]
    grad_clip: f64,

    /// Adam's decay of its mean of gradients
    #[arg(long, default_value_t = DEFAULTS.adam.beta1, value_parser = beta, value_name = "NUMBER")]
    adam_beta1: f64,

    /// Adam's decay of its mean of squared gradients
    #[arg(long, default_value_t = DEFAULTS.adam.beta2, value_parser = beta, value_name = "NUMBER")]
    adam_beta2: f64,

    /// The share of the learning rate that each step takes off what is learnt (AdamW)
    #[arg(
        long, default_value_t = DEFAULTS.adam.weight_decay, value_parser = not_negative,
        value_name = "NUMBER"
    )]
    weight_decay: f64,
}

impl OptimiserArgs {
    pub fn put_into(self, options: &mut Options) {
        let Self {
            lr_schedule,
            lr_final,
            warmup_steps,
            grad_clip,
            adam_beta1,
            adam_beta2,
            weight_decay,
        } = self;
        options.schedule.shape = lr_schedule;
        options.schedule.last = lr_final;
        options.schedule.warmup = warmup_steps;
        options.grad_clip = grad_clip;
        options.adam = Adam {
            beta1: adam_beta1,
            beta2: adam_beta2,
            weight_decay,
        };
    }
}
