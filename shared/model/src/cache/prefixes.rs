//! Prompts whose keys and values are in pages, as a tree: a node is a page and the tokens in it, a path from the root a
//! prefix. Template headers, few-shot examples and the prompts of interrupted sequences are found again by their tokens.

use r1_kernels::attention::PAGE;

use super::Pages;
use crate::batch::common_prefix;

/// The root's place in the list of nodes.
const ROOT: usize = 0;

/// One page of a prefix.
struct Node {
    /// at most [`PAGE`]; fewer only in the last page of a prompt, which has no children
    tokens: Vec<u32>,
    page: u32,
    parent: usize,
    children: Vec<usize>,
    /// when it was last found or inserted
    used: u64,
}

/// What is known of a sequence of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// pages that hold its first tokens, all of them full
    pub pages: Vec<u32>,
    /// a page that begins with the next tokens, and how many
    pub partial: Option<(u32, usize)>,
}

impl Found {
    /// Number of tokens found.
    pub fn tokens(&self) -> usize {
        self.pages.len() * PAGE + self.partial.map_or(0, |(_, slots)| slots)
    }
}

/// The tree.
pub struct Prefixes {
    nodes: Vec<Node>,
    vacant: Vec<usize>,
    clock: u64,
}

impl Default for Prefixes {
    fn default() -> Prefixes {
        let root = Node { tokens: Vec::new(), page: 0, parent: ROOT, children: Vec::new(), used: 0 };
        Prefixes { nodes: vec![root], vacant: Vec::new(), clock: 0 }
    }
}

impl Prefixes {
    /// The longest known prefix of `tokens`.
    pub fn find(&mut self, tokens: &[u32]) -> Found {
        self.clock += 1;
        let mut found = Found::default();
        let mut at = ROOT;
        loop {
            let rest = &tokens[found.pages.len() * PAGE..];
            let children = self.nodes[at].children.iter().copied();
            let best = children.map(|c| (common_prefix(&self.nodes[c].tokens, rest), c)).max();
            match best {
                Some((PAGE, child)) => {
                    self.nodes[child].used = self.clock;
                    found.pages.push(self.nodes[child].page);
                    at = child;
                }
                Some((slots, child)) if slots > 0 => {
                    self.nodes[child].used = self.clock;
                    found.partial = Some((self.nodes[child].page, slots));
                    return found;
                }
                _ => return found,
            }
        }
    }

    /// Keeps the pages of `tokens`, whose keys and values are computed. Where the same tokens are known already, the
    /// known page takes the place of the one in the table: whoever uses a page uses all before it.
    pub fn insert(&mut self, tokens: &[u32], table: &mut [u32], pages: &mut Pages) {
        self.clock += 1;
        let mut at = ROOT;
        for (chunk, page) in tokens.chunks(PAGE).zip(table) {
            let known = self.nodes[at].children.iter().copied().find(|&c| self.nodes[c].tokens == chunk);
            at = known.unwrap_or_else(|| {
                pages.keep(*page);
                let node =
                    Node { tokens: chunk.to_vec(), page: *page, parent: at, children: Vec::new(), used: 0 };
                let child = match self.vacant.pop() {
                    Some(place) => {
                        self.nodes[place] = node;
                        place
                    }
                    None => {
                        self.nodes.push(node);
                        self.nodes.len() - 1
                    }
                };
                self.nodes[at].children.push(child);
                child
            });
            self.nodes[at].used = self.clock;
            let kept = self.nodes[at].page;
            if kept != *page {
                pages.share(kept);
                pages.give_back(std::mem::replace(page, kept));
            }
        }
    }

    /// A page with one reference: a free one, else the idle one that has not been asked for longest. `None` when all
    /// are in use.
    pub fn take(&mut self, pages: &mut Pages) -> Option<u32> {
        if let Some(page) = pages.take() {
            return Some(page);
        }
        // Whoever uses a page uses all before it, so idle nodes end in idle leaves.
        let idle = |n: &usize| *n != ROOT && self.nodes[*n].children.is_empty() && self.is_idle(*n, pages);
        let oldest = (0..self.nodes.len()).filter(idle).min_by_key(|&n| self.nodes[n].used)?;
        let Node { page, parent, .. } = self.nodes[oldest];
        self.nodes[parent].children.retain(|&c| c != oldest);
        self.nodes[oldest].tokens.clear();
        self.vacant.push(oldest);
        pages.forget(page);
        pages.take()
    }

    /// Whether a node is in the tree and nobody uses its page.
    fn is_idle(&self, node: usize, pages: &Pages) -> bool {
        !self.nodes[node].tokens.is_empty() && pages.is_idle(self.nodes[node].page)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PageForm;
    use super::*;
    use r1_kernels::Precision;
    use r1_kernels::attention::Shape;

    fn pages(count: usize) -> Pages {
        let shape = Shape { heads: 1, kv_heads: 1, dk: 2, dv: 2, scale: 1.0 };
        let form = PageForm { layers: 1, shape, precision: Precision::F32, latent: None, on_device: false };
        Pages::with_capacity(count, &form, None).expect("the host has room")
    }

    fn tokens(count: usize, last: u32) -> Vec<u32> {
        (0..count as u32 - 1).chain([last]).collect()
    }

    #[test]
    fn prefixes_are_found_to_the_token() {
        let (mut tree, mut pages) = (Prefixes::default(), pages(8));
        let prompt = tokens(2 * PAGE + 5, 77);
        assert_eq!(tree.find(&prompt), Found::default());
        let mut table: Vec<u32> = (0..3).map(|_| tree.take(&mut pages).unwrap()).collect();
        tree.insert(&prompt, &mut table, &mut pages);
        let found = tree.find(&prompt);
        assert_eq!((found.tokens(), &found.pages[..]), (2 * PAGE + 5, &table[..2]));
        assert_eq!(tree.find(&tokens(2 * PAGE + 9, 78)).partial, Some((table[2], 4)));
        assert_eq!(
            tree.find(&prompt[..PAGE + 7]),
            Found { pages: vec![table[0]], partial: Some((table[1], 7)) }
        );
        assert_eq!(tree.find(&prompt[1..]), Found::default());
        // The same again changes nothing.
        tree.insert(&prompt, &mut table, &mut pages);
        assert_eq!((pages.held(), tree.nodes.len()), (3, 4));
        // Who has computed it too is given what is known.
        let mut twice: Vec<u32> = (0..3).map(|_| tree.take(&mut pages).unwrap()).collect();
        tree.insert(&prompt, &mut twice, &mut pages);
        assert!(twice == table && pages.held() == 3 && pages.available() == 5);
    }

    #[test]
    fn room_is_made_by_the_least_recently_used_and_never_by_what_is_in_use() {
        let (mut tree, mut pages) = (Prefixes::default(), pages(4));
        let (a, b) = (tokens(PAGE + 1, 1000), tokens(PAGE, 2000));
        let mut table: Vec<u32> = (0..2).map(|_| tree.take(&mut pages).unwrap()).collect();
        tree.insert(&a, &mut table, &mut pages);
        let other = tree.take(&mut pages).unwrap();
        tree.insert(&b, &mut [other], &mut pages);
        assert_eq!(pages.available(), 1);
        table.iter().chain([&other]).for_each(|&p| pages.give_back(p));
        assert_eq!((pages.available(), pages.held()), (4, 0));
        tree.find(&a);
        // Free first, then b; then the leaf of a and last its root.
        let order: Vec<u32> = (0..4).map(|_| tree.take(&mut pages).unwrap()).collect();
        assert_eq!(order[1..], [other, table[1], table[0]]);
        assert_eq!(tree.take(&mut pages), None);
        assert_eq!(tree.find(&a), Found::default());
        // A page in use stays, and so do those before it.
        order.iter().for_each(|&p| pages.give_back(p));
        let mut table: Vec<u32> = (0..2).map(|_| tree.take(&mut pages).unwrap()).collect();
        tree.insert(&a, &mut table, &mut pages);
        pages.give_back(table[0]);
        assert_eq!(pages.available(), 3);
        assert!((0..2).all(|_| tree.take(&mut pages).is_some()));
        assert_eq!(tree.take(&mut pages), None);
    }
}
