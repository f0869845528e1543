//! The names of models on the Hugging Face hub: those of transformers' RWKV-5 (`RWKV/rwkv-5-world-*`)
//! and of flash-linear-attention's RWKV-7 (`fla-hub/rwkv7-*`, `RWKV/RWKV7-*`). The numbers are those
//! of the checkpoints that they were made from; the second transposes the matrices of low rank.

use crate::tensors::Stored;

/// RWKV-7's mixes in the order of the rows of `x_x`, in which flash-linear-attention kept them until
/// the spring of 2025 (its `RWKV7Attention.forward`).
const MIXES: [&str; 6] = ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"];

/// What a model's embedding may be called, here and elsewhere.
pub const EMBEDDINGS: [&str; 2] = ["emb.weight", "embeddings.weight"];

/// A name of RWKV's own, and whether the tensor stands the other way round.
pub struct Renamed {
    pub name: String,
    pub is_transposed: bool,
}

/// The name in RWKV's own checkpoints of a tensor of the hub's. Another name stays as it is.
pub fn renamed(name: &str) -> Renamed {
    let straight = |name: String| Renamed {
        name,
        is_transposed: false,
    };
    // Whatever more there is in a part of the model is that part's, too.
    let of_model = match name.split_once('.') {
        Some(("embeddings", rest)) => format!("emb.{rest}"),
        Some(("lm_head", rest)) => format!("head.{rest}"),
        Some(("norm", rest)) => format!("ln_out.{rest}"),
        _ => name.to_string(),
    };
    let words: Vec<&str> = name.splitn(4, '.').collect();
    let [blocks @ ("blocks" | "layers"), layer, part, rest] = words[..] else {
        return straight(of_model);
    };
    let part = match part {
        "pre_ln" | "pre_norm" => "ln0",
        "attn_norm" => "ln1",
        "ffn_norm" => "ln2",
        "attention" | "attn" => "att",
        "feed_forward" => "ffn",
        _ if blocks == "layers" => part,
        _ => return straight(name.to_string()),
    };
    let in_layer = |rest: &str| format!("blocks.{layer}.{part}.{rest}");
    if let Some((letter @ ("w" | "a" | "v" | "g"), rest)) = rest.split_once("_lora.lora.") {
        let number = match rest {
            "0.weight" => "1",
            "2.weight" => "2",
            "2.bias" => "0",
            _ => return straight(name.to_string()),
        };
        return Renamed {
            name: in_layer(&format!("{letter}{number}")),
            is_transposed: number != "0",
        };
    }
    let (first, end) = rest.split_once('.').unwrap_or((rest, ""));
    let first = match first {
        "time_mix_key" => "time_mix_k",
        "time_mix_value" => "time_mix_v",
        "time_mix_receptance" => "time_mix_r",
        "time_mix_gate" => "time_mix_g",
        "r_proj" => "receptance",
        "k_proj" => "key",
        "v_proj" => "value",
        "o_proj" => "output",
        "g_norm" => "ln_x",
        _ => first,
    };
    straight(match end {
        "" => in_layer(first),
        end => in_layer(&format!("{first}.{end}")),
    })
}

/// The mixes that stand together in a layer's `x_x` `[6, ...]`, each by its own name. `None` for any
/// other tensor.
pub fn mixes(name: &str, tensor: &Stored) -> Option<Vec<(String, Stored)>> {
    let layer = name.strip_suffix(".att.x_x")?;
    let [6, shape @ ..] = &tensor.shape[..] else {
        return None;
    };
    let size = tensor.bytes.len() / MIXES.len();
    let row = |(i, mix): (usize, &&str)| {
        let row = Stored {
            dtype: tensor.dtype,
            shape: shape.to_vec(),
            bytes: tensor.bytes.slice(i * size..(i + 1) * size)?,
        };
        Some((format!("{layer}.att.{mix}"), row))
    };
    MIXES.iter().enumerate().map(row).collect()
}
