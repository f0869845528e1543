//! RWKV-7 models of shapes that no such model has. Each is refused by the tensor, its shape and what
//! is needed; nothing is read another way round.

use super::*;

/// The model with one tensor in another shape, as the name of a file.
fn with(dir: &Dir, name: &str, shape: &[usize]) -> std::path::PathBuf {
    let mut all = tensors("model_7.pth");
    let (_, tensor) = all.iter_mut().find(|(found, _)| found == name).unwrap();
    let count: usize = shape.iter().product();
    let numbers = vec![0.125; count];
    *tensor = Stored::new(Element::of(tensor.dtype).unwrap(), shape.to_vec(), &numbers);
    let path = dir.path("model.pth");
    write_pth(&path, all);
    path
}

#[test]
fn a_tensor_of_another_shape_is_refused_by_name() {
    let dir = Dir::new();
    let shape = |name: &str| {
        let all = tensors("model_7.pth");
        let (_, tensor) = all.iter().find(|(found, _)| found == name).unwrap();
        tensor.shape.clone()
    };
    let [heads, size] = shape("blocks.0.att.r_k")[..] else {
        panic!()
    };
    let (width, rank) = (heads * size, shape("blocks.1.att.w1")[1]);
    assert_ne!(heads, size);
    let cases: [(&str, &[usize]); 9] = [
        // As many numbers, in another order.
        ("blocks.1.att.r_k", &[size, heads]),
        ("blocks.1.att.r_k", &[width]),
        ("blocks.1.att.x_r", &[heads, size]),
        ("blocks.1.ffn.x_k", &[heads, size]),
        ("blocks.0.ln1.weight", &[heads, size]),
        // Fewer and more.
        ("blocks.1.att.w0", &[1, 1, width - 1]),
        ("blocks.1.att.w1", &[width, 0]),
        ("blocks.1.att.w2", &[rank + 1, width]),
        ("blocks.1.att.receptance.weight", &[width, width + 1]),
    ];
    for (name, shape) in cases {
        let path = with(&dir, name, shape);
        refused(&path, &[name, &format!("{shape:?}")]);
    }
    // Heads are read off the first layer's.
    refused(
        &with(&dir, "blocks.0.att.r_k", &[width]),
        &["blocks.0.att.r_k"],
    );
    refused(
        &with(&dir, "blocks.0.att.r_k", &[heads + 1, size]),
        &["is not a multiple of", "blocks.0.att.r_k"],
    );
}

#[test]
fn a_layer_that_lacks_something_is_refused_by_it() {
    let dir = Dir::new();
    let path = dir.path("model.pth");
    for gone in ["blocks.1.att.v1", "blocks.1.att.v0", "blocks.0.att.k_a"] {
        let all = tensors("model_7.pth").into_iter();
        write_pth(&path, all.filter(|(name, _)| name != gone).collect());
        refused(&path, &[gone, "incomplete"]);
    }
    let all = tensors("model_7.pth").into_iter();
    let all = all.filter(|(name, _)| !name.starts_with("blocks.0."));
    write_pth(&path, all.collect());
    refused(&path, &["blocks.0."]);
}
