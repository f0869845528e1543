//! Every spelling, tensor by tensor, against the names that the programs' own converters give.

use super::*;
use crate::tensors::Element;

/// A tensor whose numbers tell its element's place.
fn tensor(shape: &[usize]) -> Stored {
    let numbers: Vec<f32> = (0..shape.iter().product())
        .map(|i: usize| i as f32)
        .collect();
    Stored::new(Element::F32, shape.to_vec(), &numbers)
}

fn names(spelt: &[&str]) -> Result<Vec<String>, Error> {
    let tensors = spelt.iter().map(|name| (name.to_string(), tensor(&[2, 3])));
    let plain = plain(tensors.collect(), Container::Safetensors)?;
    Ok(plain.tensors.into_iter().map(|(name, _)| name).collect())
}

#[test]
fn what_stands_before_all_names_is_taken_off() {
    let own = ["emb.weight", "blocks.0.ln1.weight", "head.weight"];
    for prefix in [
        "",
        "module.",
        "_forward_module.",
        "model.",
        "a.b.c.",
        "model_",
        "a.b_",
        "_orig_mod.module.",
    ] {
        let spelt = own.map(|name| format!("{prefix}{name}"));
        let spelt: Vec<&str> = spelt.iter().map(String::as_str).collect();
        assert_eq!(names(&spelt).unwrap(), own, "{prefix}");
    }
    // Once for each module that was compiled or wrapped, and beside another prefix.
    let inside = [
        "module.emb.weight",
        "module.blocks.0._orig_mod._fsdp_wrapped_module.ln1.weight",
        "module.head._checkpoint_wrapped_module.weight",
    ];
    assert_eq!(names(&inside).unwrap(), own);
    // What others have is theirs.
    let others = [
        "module.emb.weight",
        "optimizer.step",
        "modules.x",
        "module.y",
    ];
    let left = ["emb.weight", "optimizer.step", "modules.x", "y"];
    assert_eq!(names(&others).unwrap(), left);
    // A state has no embedding.
    let state = [
        "model.blocks.0.att.time_state",
        "model.blocks.1.att.time_state",
    ];
    let plain = ["blocks.0.att.time_state", "blocks.1.att.time_state"];
    assert_eq!(names(&state).unwrap(), plain);
    let state = state.map(|name| name.replace("model.", "state_"));
    assert_eq!(names(&state.each_ref().map(String::as_str)).unwrap(), plain);
    // Many that look like one are looked at once.
    let mut many: Vec<String> = (0..100_000).map(|i| format!("xblocks.0.{i}")).collect();
    many.push("other".to_string());
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(names(&many).unwrap(), many);
    // What not all have is no prefix.
    let some = ["token_emb.weight", "blocks.0.ln1.weight"];
    assert_eq!(names(&some).unwrap(), some);
}

#[test]
fn a_second_model_is_left_or_refused() {
    let second = [
        "emb.weight",
        "head.weight",
        "ema.emb.weight",
        "ema.head.weight",
    ];
    assert_eq!(names(&second).unwrap(), second);
    let error = names(&["a.emb.weight", "b.emb.weight"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"a.\" and \"b.\""), "{error}");
    let error = names(&["emb.weight", "embeddings.weight"])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("emb.weight and embeddings.weight"),
        "{error}"
    );
}

#[test]
fn the_hubs_names_are_turned_into_rwkvs_own() {
    for (hub, own) in [
        ("rwkv.embeddings.weight", "emb.weight"),
        ("head.weight", "head.weight"),
        ("rwkv.ln_out.bias", "ln_out.bias"),
        ("rwkv.blocks.0.pre_ln.weight", "blocks.0.ln0.weight"),
        (
            "rwkv.blocks.3.attention.time_mix_gate",
            "blocks.3.att.time_mix_g",
        ),
        (
            "rwkv.blocks.3.attention.time_faaaa",
            "blocks.3.att.time_faaaa",
        ),
        (
            "rwkv.blocks.3.attention.key.weight",
            "blocks.3.att.key.weight",
        ),
        (
            "rwkv.blocks.12.feed_forward.time_mix_receptance",
            "blocks.12.ffn.time_mix_r",
        ),
    ] {
        let found = names(&["rwkv.embeddings.weight", hub]);
        let found = match hub {
            "rwkv.embeddings.weight" => names(&[hub]).unwrap(),
            _ => found.unwrap(),
        };
        assert_eq!(found.last().unwrap(), own);
    }
    for (hub, own) in [
        ("lm_head.weight", "head.weight"),
        ("model.norm.weight", "ln_out.weight"),
        ("model.layers.0.pre_norm.bias", "blocks.0.ln0.bias"),
        ("model.layers.5.attn_norm.weight", "blocks.5.ln1.weight"),
        ("model.layers.5.ffn_norm.weight", "blocks.5.ln2.weight"),
        ("model.layers.5.attn.x_r", "blocks.5.att.x_r"),
        (
            "model.layers.5.attn.r_proj.weight",
            "blocks.5.att.receptance.weight",
        ),
        (
            "model.layers.5.attn.o_proj.weight",
            "blocks.5.att.output.weight",
        ),
        (
            "model.layers.5.attn.g_norm.weight",
            "blocks.5.att.ln_x.weight",
        ),
        ("model.layers.5.attn.w_lora.lora.2.bias", "blocks.5.att.w0"),
        ("model.layers.5.ffn.key.weight", "blocks.5.ffn.key.weight"),
    ] {
        let found = names(&["model.embeddings.weight", hub]).unwrap();
        assert_eq!(found, ["emb.weight", own]);
    }
}

#[test]
fn the_hubs_matrices_of_low_rank_are_turned() {
    let spelt = [
        "model.embeddings.weight",
        "model.layers.5.attn.a_lora.lora.0.weight",
    ];
    let tensors = spelt
        .map(|name| (name.to_string(), tensor(&[2, 3])))
        .to_vec();
    let plain = plain(tensors, Container::Safetensors).unwrap();
    let (name, turned) = &plain.tensors[1];
    assert_eq!(
        (name.as_str(), &turned.shape[..]),
        ("blocks.5.att.a1", &[3, 2][..])
    );
    let numbers = Element::F32.decode(&turned.bytes);
    assert_eq!(numbers, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
}

#[test]
fn models_of_others_keep_their_names() {
    let llama = [
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.q_proj.weight",
    ];
    assert_eq!(names(&llama).unwrap(), llama);
}

#[test]
fn tensors_that_are_many_views_of_one_memory_are_refused() {
    let whole = Stored::new(Element::F32, vec![1 << 12, 1 << 12], &vec![0.0; 1 << 24]);
    let views = |count: usize| {
        let view = |i: usize| {
            let bytes = whole.bytes.slice(4 * i..4 * i + (1 << 25)).unwrap();
            let shape = vec![1 << 11, 1 << 12];
            let name = format!("model.layers.{i}.attn.w_lora.lora.0.weight");
            (
                name,
                Stored {
                    bytes,
                    shape,
                    ..whole.clone()
                },
            )
        };
        plain((0..count).map(view).collect(), Container::Pth)
    };
    match views(1000) {
        Err(Error::Shared { bytes, held }) => {
            assert_eq!((bytes, held), (1000 << 25, (1 << 25) + 4 * 999));
        }
        other => panic!("it would be copied a thousand times: {other:?}"),
    }
    // As a state of zeros may be made, and a head that is the embedding.
    let zeros = Stored::new(Element::F32, vec![2, 4, 4], &[0.0; 32]);
    let layer = |i: usize| (format!("blocks.{i}.att.time_state"), zeros.clone());
    assert!(plain((0..60).map(layer).collect(), Container::Pth).is_ok());
}
