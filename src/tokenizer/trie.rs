//! Finds the longest token at the start of some bytes, one array lookup a byte.
//!
//! A double array: all nodes of a trie lie in one array, and the child of a node by byte `b` is the
//! slot `node.base + b`, provided that this slot names the node as its parent. Nodes share
//! stretches of the array, each filling the holes that others leave, so it stays small enough for a
//! cache.
//!
//! It is our own because the daachorse crate, which finds the same tokens, was measured to take
//! twice as long to build at start-up (37 against 15 ms) and to encode English a little more slowly
//! (160 against 185 MB/s).

/// One slot of the array.
#[derive(Clone, Copy)]
struct Node {
    /// Where the children would start if they had all 256 bytes.
    base: u32,
    /// The slot of the parent; `FREE` where no node lies.
    parent: u32,
    /// The token that ends here; 0 for none, since no token has that id.
    id: u32,
}

const FREE: u32 = u32::MAX;
const ROOT: u32 = 0;
const HOLE: Node = Node {
    base: 0,
    parent: FREE,
    id: 0,
};

/// After so many places that do not fit, the search for a place starts further on for good: a node
/// with many children would otherwise try every hole that is left, and the space is not worth it.
const PATIENCE: usize = 16;

/// The tokens of a vocabulary, by their bytes.
pub(super) struct Trie {
    nodes: Vec<Node>,
}

impl Trie {
    /// Builds the array from tokens (not empty, ids above 0); of equal tokens the last counts.
    pub(super) fn new<'a>(tokens: impl Iterator<Item = (u32, &'a [u8])>) -> Self {
        let mut tokens: Vec<(&[u8], u32)> = tokens.map(|(id, bytes)| (bytes, id)).collect();
        tokens.sort_unstable();
        let mut builder = Builder {
            nodes: vec![HOLE; 1 << 10],
            first_free: 1,
            first_roomy: 1,
        };
        builder.nodes[ROOT as usize].parent = ROOT;
        builder.add_children(ROOT, &tokens, 0);
        // A lookup may reach 255 slots past any base without leaving the array.
        let used = builder
            .nodes
            .iter()
            .rposition(|node| node.parent != FREE)
            .map_or(0, |last| last + 1);
        builder.nodes.resize(used + 256, HOLE);
        builder.nodes.shrink_to_fit();
        Trie {
            nodes: builder.nodes,
        }
    }

    /// The longest token that `bytes` starts with: its id and its length.
    ///
    /// `bytes` must not be empty. Every single byte is a token, so there always is one.
    #[inline]
    pub(super) fn longest(&self, bytes: &[u8]) -> (u32, usize) {
        let mut slot = ROOT;
        let mut node = self.nodes[ROOT as usize];
        let mut best = (0, 1);
        for (length, &byte) in (1..).zip(bytes) {
            let child = node.base + u32::from(byte);
            let parent = slot;
            slot = child;
            node = self.nodes[slot as usize];
            if node.parent != parent {
                break;
            }
            if node.id != 0 {
                best = (node.id, length);
            }
        }
        best
    }
}

struct Builder {
    nodes: Vec<Node>,
    /// No slot before this one is free.
    first_free: usize,
    /// Where the search for a place for two children or more starts.
    first_roomy: usize,
}

impl Builder {
    /// Places the children of the node at `slot`, and theirs; `tokens` are those at or below it,
    /// sorted and alike up to `depth`. The recursion is as deep as the longest token, 128 bytes.
    fn add_children(&mut self, slot: u32, tokens: &[(&[u8], u32)], depth: usize) {
        let here = tokens
            .iter()
            .take_while(|(bytes, _)| bytes.len() == depth)
            .count();
        if let Some(&(_, id)) = tokens[..here].last() {
            self.nodes[slot as usize].id = id;
        }
        let below = &tokens[here..];
        if below.is_empty() {
            return;
        }
        let groups = || below.chunk_by(|(left, _), (right, _)| left[depth] == right[depth]);
        let labels: Vec<u8> = groups().map(|group| group[0].0[depth]).collect();
        let base = self.find_base(&labels);
        self.nodes[slot as usize].base = base;
        for &label in &labels {
            self.nodes[(base + u32::from(label)) as usize].parent = slot;
        }
        for (group, &label) in groups().zip(&labels) {
            self.add_children(base + u32::from(label), group, depth + 1);
        }
    }

    /// The first base, from the right starting point on, at which the slots of all labels are free.
    fn find_base(&mut self, labels: &[u8]) -> u32 {
        while !self.is_free(self.first_free) {
            self.first_free += 1;
        }
        let lowest = usize::from(labels[0]);
        let start = if labels.len() == 1 {
            self.first_free
        } else {
            self.first_free.max(self.first_roomy)
        };
        let mut tried = 0;
        let mut slot = start.max(lowest);
        loop {
            if self.is_free(slot) {
                let base = slot - lowest;
                if labels
                    .iter()
                    .all(|&label| self.is_free(base + usize::from(label)))
                {
                    if tried > PATIENCE {
                        self.first_roomy = slot;
                    }
                    return base as u32;
                }
                tried += 1;
            }
            slot += 1;
        }
    }

    /// Whether a slot is empty; the array grows as the search walks past its end.
    fn is_free(&mut self, slot: usize) -> bool {
        if slot >= self.nodes.len() {
            self.nodes.resize((slot + 1).next_power_of_two(), HOLE);
        }
        self.nodes[slot].parent == FREE
    }
}
