//! A state through every format and back, and into the programs that the formats are for.

use super::*;

#[test]
fn through_every_format_and_back() {
    for generation in GENERATIONS {
        goes_through_every_format_and_back(generation);
    }
}

fn goes_through_every_format_and_back(generation: Generation) {
    let dir = Dir::new();
    let [tuned, tiny_model] = files_of(generation);
    let fingerprint = model_of(generation).fingerprint().to_string();
    let original = state_file::open(Path::new(&tuned), None).unwrap().state;
    for format in FORMATS {
        let name = format.name();
        let said = does(
            &dir,
            &[
                "convert",
                &tuned,
                name,
                "--to",
                name,
                "--model",
                &tiny_model,
            ],
        );
        let keeps_all = format == Format::STATE;
        assert_eq!(said.contains("lost   "), !keeps_all, "{said}");
        let back = format!("{name}.back");
        does(&dir, &["convert", name, &back, "--to=state"]);
        let back = state_file::open(&dir.path(&back), Some(Format::STATE))
            .unwrap()
            .state;
        // Matrices of 32 bits go through types of 16, but for two formats.
        let is_exact = [Format::STATE, Format::RWKV_LIVE].contains(&format);
        let tolerance = if is_exact { 0.0 } else { 4e-3 };
        let apart = distance(&flat(&back.wkv), &flat(&original.wkv));
        assert!(apart <= tolerance, "{name}: {apart}");
        let has_shifts = !format
            .loses(&original)
            .unwrap()
            .contains(&"the token shifts");
        let shifts = if has_shifts {
            flat(&original.shifts)
        } else {
            vec![0.0; flat(&original.shifts).len()]
        };
        assert_eq!(flat(&back.shifts), shifts, "{name}");
        let said = does(&dir, &["inspect", name]);
        assert!(said.contains(&format!("state        {name}\n")), "{said}");
        assert!(
            said.contains(&format!("fingerprint {fingerprint}")),
            "{said}"
        );
    }
}

#[test]
fn a_new_state_knows_its_model() {
    let dir = Dir::new();
    dir.succeeds(&["--max_epochs=0.05"]);
    let found = state_file::open(&dir.path("state.pth"), None).unwrap();
    assert_eq!(
        found.tag.unwrap().model.as_deref(),
        Some(model().fingerprint())
    );
}

#[test]
#[ignore = "needs ORACLE_PYTHON, a Python with torch, safetensors and rwkv"]
fn python_loads_every_format_and_the_rwkv_package_answers_alike() {
    for generation in GENERATIONS {
        python_loads_every_format_of(generation);
    }
}

fn python_loads_every_format_of(generation: Generation) {
    let python = std::env::var_os("ORACLE_PYTHON").expect("ORACLE_PYTHON names a Python");
    let dir = Dir::new();
    let [tuned, tiny_model] = files_of(generation);
    for format in FORMATS {
        let name = format.name();
        let end = if format == Format::WEB_RWKV {
            "st"
        } else {
            "pth"
        };
        let file = format!("{name}.{end}");
        does(
            &dir,
            &[
                "convert",
                &tuned,
                &file,
                "--to",
                name,
                "--model",
                &tiny_model,
                "--fold",
            ],
        );
    }
    // What the program itself makes of the files that the package will read.
    let model = model_of(generation);
    for name in ["rwkv-live", "model"] {
        let state = match (name, generation.name) {
            // The package ignores a state in such a model.
            ("model", "7") => State::zeros(model.config()).unwrap(),
            _ => state_file::read(&dir.path(&format!("{name}.pth")), model.config()).unwrap(),
        };
        let (last, _) = model
            .advance(&Tokenizer::world().encode(PROMPT), &state)
            .unwrap();
        dir.write(
            &format!("{name}.json"),
            serde_json::to_string(&last).unwrap(),
        );
    }
    let tokens = Tokenizer::world().encode(PROMPT);
    dir.write("tokens.json", serde_json::to_string(&tokens).unwrap());
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/check_states.py");
    let run = Command::new(python)
        .arg(script)
        .arg(dir.path(""))
        .arg(generation.name)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
    assert!(run.status.success(), "{said}");
    println!("{said}");
    fs::remove_file(dir.path("tokens.json")).unwrap();
}

#[test]
fn a_name_of_the_other_kind_of_file_is_told() {
    let dir = Dir::new();
    let [tuned, _] = files_of(GENERATIONS[0]);
    for (out, format, kind) in [
        ("a.st", "time_state", "a .pth file"),
        ("b.Safetensors", "state", "a .pth file"),
        ("c.pth", "web-rwkv", "a safetensors file"),
    ] {
        let said = does(&dir, &["convert", &tuned, out, "--to", format]);
        let told = format!("note   {out} is {kind}, as the format {format} is, whatever its name");
        assert!(said.contains(&told), "{said}");
    }
    for (out, format) in [
        ("d.st", "web-rwkv"),
        ("e.pth", "state"),
        ("f", "time_state"),
    ] {
        let said = does(&dir, &["convert", &tuned, out, "--to", format]);
        assert!(!said.contains("whatever its name"), "{said}");
    }
}
