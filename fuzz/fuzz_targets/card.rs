//! What a hub says of a dataset, its card included, gives paths of the repository or an error, within
//! bounded time.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use state_tune::fetch::{self, Dataset};

fuzz_target!(|data: &[u8]| {
    let begun = Instant::now();
    for name in ["me/data", "me/data:default"] {
        let dataset: Dataset = name.parse().expect("a name");
        for split in ["train", "test"] {
            let Ok(paths) = fetch::files_of_split(data, &dataset, split) else {
                continue;
            };
            // What is not used of it need not be UTF-8.
            let Ok(said) = serde_json::from_slice::<Value>(data) else {
                continue;
            };
            let siblings = said["siblings"].as_array().expect("there is a file");
            for path in paths {
                assert!(
                    siblings
                        .iter()
                        .any(|file| file["rfilename"] == path.as_str())
                );
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
});
