//! The names of a model's tensors, without what other programs put before them.

/// What torch.compile leaves in the names of what it compiled, once for each module.
const COMPILED: &str = "_orig_mod.";

/// The name that the tensor has in the model itself.
pub fn plain(name: &str) -> String {
    name.replace(COMPILED, "")
}
