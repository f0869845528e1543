//! Ranks that are threads of this process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;
use state_tune::console::Console;
use state_tune::data::Formats;
use state_tune::data::template::Template;
use state_tune::distributed::{self, Engine, Failure, Ranks};
use state_tune::ops::linear::ProductType;
use state_tune::train::{self, Evaluation, HeldOut, Init, Keep, Options, Stop, Tune};

use crate::common::{Dir, GENERATIONS, golden, tiny};
use crate::runs::{close, prepared};

pub const ALL: Tune = Tune {
    soft_prompt: true,
    shift: true,
    wkv: true,
};

/// What `work` gives on each of some ranks.
pub fn on<T: Send>(engines: Vec<Box<dyn Engine>>, work: impl Fn(&Ranks) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let ranks = engines
            .into_iter()
            .map(|engine| scope.spawn(move || work(&Ranks::new(engine, "host"))));
        let ranks: Vec<_> = ranks.collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// Options of a run in `dir` with everything that ranks have to agree on.
fn options(dir: &Dir, model: &str, save: &str) -> Options {
    let mut options = Options {
        model: golden(model),
        data: dir.path("data.jsonl"),
        save: dir.path(save),
        log_file: Some(dir.path(&format!("{save}.log"))),
        formats: Formats {
            prompt: Template::parse("{input}").unwrap(),
            response: Template::parse("{output}").unwrap(),
            ..Formats::default()
        },
        batch_size: 8,
        exit_loss: 0.0,
        max_epochs: 5.0,
        save_every: 0.0,
        init: Some(Init::Ones),
        grad_clip: 1.0,
        product: Some(ProductType::F32),
        ..Options::default()
    };
    // Larger steps from these texts, which nothing can be learnt from, magnify rounding.
    options.schedule.learning_rate = 0.002;
    options.evaluation.examples = HeldOut::Share(0.2);
    options.evaluation.every = 7;
    options.evaluation.keep = Keep::Best;
    options
}

/// Runs on so many ranks, each with the options that `of` gives it.
fn run(count: usize, of: impl Fn(usize) -> Options + Sync) -> Vec<Result<Stop>> {
    on(distributed::threads(count), |ranks| {
        train::run_on(ranks, &of(ranks.rank()), &Console::silent())
    })
}

#[track_caller]
fn all_done(stops: Vec<Result<Stop>>) {
    for stop in stops {
        assert!(matches!(stop.unwrap(), Stop::MaxEpochs { .. }));
    }
}

/// The losses of a run's steps, those on held-out examples, and the steps' gradient norms.
fn told(log: PathBuf) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let text = std::fs::read_to_string(&log).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines: Vec<_> = lines.collect();
    let of = |key: &str| lines.iter().filter_map(|line| line[key].as_f64()).collect();
    let norms = ["softprompt", "shift", "wkv"].map(|group| of(&format!("grad_norm_{group}")));
    (of("loss"), of("eval_loss"), norms.concat())
}

/// From a state that is tuned: in the first steps from a soft prompt of zeros, its norm would magnify
/// rounding several hundred times, also where one rank computes a batch in parts.
#[test]
fn a_run_on_several_ranks_is_the_run_on_one() {
    /// Of losses and of gradients' norms. These losses are near 0.1 and come of logits near 20, of which
    /// one rounding is 1e-5 of the loss; `reference` holds losses near 5 to 1e-6.
    const ROUNDING: [f64; 2] = [1e-5, 1e-4];
    let no_prompt = Tune {
        soft_prompt: false,
        ..ALL
    };
    let prompt = Tune {
        soft_prompt: true,
        ..Tune::default()
    };
    let [five, seven] = GENERATIONS;
    for (generation, tune, batch_size) in [
        (five, ALL, 7),
        // Fewer examples than ranks.
        (seven, ALL, 2),
        (seven, no_prompt, 5),
        (five, prompt, 4),
    ] {
        let dir = Dir::new();
        let of = |save: &str| Options {
            model: generation.model(),
            init: Some(Init::File(generation.state())),
            data: tiny("train.jsonl"),
            formats: Formats::default(),
            tune,
            batch_size,
            max_epochs: 8.0 * batch_size as f64 / 285.0,
            evaluation: Evaluation {
                examples: HeldOut::Share(0.05),
                ..options(&dir, "", "").evaluation
            },
            ..options(&dir, "", save)
        };
        train::run(&of("alone"), &Console::silent()).unwrap();
        let alone = told(dir.path("alone.log"));
        assert_eq!(alone.0.len(), 8);
        for count in [2, 3, 5] {
            let save = format!("on{count}");
            all_done(run(count, |_| of(&save)));
            let (steps, evals, norms) = told(dir.path(&format!("{save}.log")));
            let [of_losses, of_norms] = ROUNDING;
            close(&steps, &alone.0, of_losses);
            close(&evals, &alone.1, of_losses);
            close(&norms, &alone.2, of_norms);
        }
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let dir = prepared();
    let of = |save: &str, epochs: f64, resume| Options {
        tune: Tune {
            soft_prompt: false,
            ..ALL
        },
        max_epochs: epochs,
        resume,
        ..options(&dir, "model_5.2.pth", save)
    };
    train::run(&of("alone", 5.0, false), &Console::silent()).unwrap();
    let parts = |epochs, resume| of("parts", epochs, resume);
    all_done(run(3, |_| parts(2.0, false)));
    // Only the first rank has the checkpoint where it says.
    all_done(run(2, |rank| Options {
        save: dir.path(["parts", "elsewhere/parts"][rank]),
        ..parts(3.5, true)
    }));
    train::run(&parts(5.0, true), &Console::silent()).unwrap();
    let (whole, parts) = (told(dir.path("alone.log")), told(dir.path("parts.log")));
    close(&parts.0, &whole.0, 1e-6);
    assert!(!dir.path("elsewhere").exists());
}

#[test]
fn ranks_that_are_not_alike_end_before_a_step() {
    let dir = prepared();
    dir.write("other.jsonl", crate::runs::rows(39));
    let model = "model_5.2.pth";
    type Change = fn(&Dir, &mut Options);
    let changes: [(Change, &str); 6] = [
        (|_, options| options.batch_size = 4, "batchsize"),
        (|_, options| options.seed = 2, "seed"),
        (
            |_, options| options.schedule.learning_rate = 0.1,
            "learningrate",
        ),
        (
            |dir, options| options.data = dir.path("other.jsonl"),
            "examples",
        ),
        (|_, options| options.model = golden("model_7.pth"), "model"),
        (
            |dir, options| options.data = dir.path("none.jsonl"),
            "does not exist",
        ),
    ];
    for (change, word) in changes {
        let stops = run(3, |rank| {
            let mut options = options(&dir, model, "state.pth");
            if rank == 2 {
                change(&dir, &mut options);
            }
            options
        });
        for stop in stops {
            let error = stop.unwrap_err();
            assert!(Failure::is(&error), "{error:#}");
            let error = format!("{error:#}");
            assert!(
                error.contains("rank 2 (host host)") && error.contains(word),
                "{error}"
            );
        }
        assert!(!dir.path("state.pth").exists());
    }
    // The number of threads, the device and the names of files are each rank's own.
    let stops = run(2, |rank| Options {
        log_file: None,
        processor: state_tune::ops::cpu::Processor {
            threads: Some(1 + rank),
            level: None,
        },
        ..options(&dir, model, "state.pth")
    });
    all_done(stops);
}

/// An engine that receives a wrong number once.
struct Broken {
    engine: Box<dyn Engine>,
    sums: AtomicUsize,
}

impl Engine for Broken {
    fn rank(&self) -> usize {
        self.engine.rank()
    }

    fn size(&self) -> usize {
        self.engine.size()
    }

    fn sum_f64(&self, numbers: &mut [f64]) {
        self.engine.sum_f64(numbers);
    }

    fn sum_f32(&self, numbers: &mut [f32]) {
        self.engine.sum_f32(numbers);
        // The first sums are of what the ranks compare at the start.
        if self.sums.fetch_add(1, Ordering::Relaxed) == 6 {
            numbers[0] *= 1.5;
        }
    }

    fn finish(&self) {}

    fn abort(&self, code: i32) {
        self.engine.abort(code);
    }
}

#[test]
fn a_rank_that_drifts_ends_the_run_and_the_state_before_that_is_saved() {
    let dir = prepared();
    let mut engines = distributed::threads(3);
    let broken = Broken {
        engine: engines.remove(1),
        sums: AtomicUsize::new(0),
    };
    engines.insert(1, Box::new(broken));
    let stops = on(engines, |ranks| {
        let options = Options {
            // Its gradient would be cut to the same length.
            grad_clip: 0.0,
            ..options(&dir, "model_5.2.pth", "state.pth")
        };
        train::run_on(ranks, &options, &Console::silent())
    });
    for stop in stops {
        let error = format!("{:#}", stop.unwrap_err());
        assert!(
            error.contains("rank 1 (host host) has not the same state"),
            "{error}"
        );
        assert!(error.contains("last good state is in"), "{error}");
    }
    let steps = told(dir.path("state.pth.log")).0.len();
    assert!((1..20).contains(&steps), "{steps}");
    assert!(dir.path("state.pth").exists());
}

#[test]
fn the_first_rank_of_a_machine_fetches_and_the_others_find_it_there() {
    let fetched = AtomicUsize::new(0);
    let fetch = |ranks: &Ranks, fails: bool| {
        ranks.fetch_once(|| {
            anyhow::ensure!(!fails, "no network");
            match ranks.rank() {
                // Long enough for the others to come first, if they did not wait.
                0 => thread::sleep(std::time::Duration::from_millis(50)),
                _ => assert!(fetched.load(Ordering::SeqCst) > 0, "before the first rank"),
            }
            fetched.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    };
    for done in on(distributed::threads(3), |ranks| fetch(ranks, false)) {
        done.unwrap();
    }
    assert_eq!(fetched.load(Ordering::SeqCst), 3);
    for failed in on(distributed::threads(3), |ranks| fetch(ranks, true)) {
        let error = failed.unwrap_err();
        assert!(
            Failure::is(&error) && error.to_string() == "no network",
            "{error:#}"
        );
    }
    assert_eq!(fetched.load(Ordering::SeqCst), 3);
}

#[test]
fn what_fails_just_before_the_first_step_fails_on_all() {
    let dir = prepared();
    all_done(run(1, |_| options(&dir, "model_5.2.pth", "state.pth")));
    // It is in the way of where that run's checkpoint would be kept.
    dir.write("state.pth.ckpt.old", "notes");
    let stops = run(2, |_| options(&dir, "model_5.2.pth", "state.pth"));
    let told: Vec<String> = stops
        .into_iter()
        .map(|stop| format!("{:#}", stop.unwrap_err()))
        .collect();
    assert!(told[0].contains("state.pth.ckpt.old"), "{told:?}");
    assert_eq!(told[0], told[1]);
}
