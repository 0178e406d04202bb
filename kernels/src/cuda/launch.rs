//! Starting a kernel: its arguments, checked against the signature in the source, and its grid.

use super::{Buffer, Element, View, ViewMut};

/// One argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arg {
    /// An address of values of the named type.
    At(u64, &'static str),
    I32(i32),
    F32(f32),
    F64(f64),
    U64(u64),
}

impl Arg {
    /// A pointer to nothing: an optional argument that is absent.
    pub fn none<T: Element>() -> Arg {
        Arg::At(0, T::NAME)
    }

    /// A view that may be absent.
    pub fn maybe<T: Element>(view: Option<View<'_, T>>) -> Arg {
        view.map_or(Arg::none::<T>(), Arg::from)
    }

    /// How the device code declares it.
    pub fn kind(&self) -> String {
        match self {
            Arg::At(_, name) => format!("{name}*"),
            Arg::I32(_) => "int".into(),
            Arg::F32(_) => "float".into(),
            Arg::F64(_) => "double".into(),
            Arg::U64(_) => "u64".into(),
        }
    }

    /// Its bytes, little end first.
    pub fn bits(&self) -> u64 {
        match *self {
            Arg::At(at, _) => at,
            Arg::I32(x) => u64::from(x as u32),
            Arg::F32(x) => u64::from(x.to_bits()),
            Arg::F64(x) => x.to_bits(),
            Arg::U64(x) => x,
        }
    }
}

impl<T: Element> From<View<'_, T>> for Arg {
    fn from(view: View<'_, T>) -> Arg {
        Arg::At(view.address(), T::NAME)
    }
}

impl<T: Element> From<&ViewMut<'_, T>> for Arg {
    fn from(view: &ViewMut<'_, T>) -> Arg {
        Arg::At(view.address(), T::NAME)
    }
}

impl<T: Element> From<&Buffer<T>> for Arg {
    fn from(buffer: &Buffer<T>) -> Arg {
        buffer.all().into()
    }
}

impl From<usize> for Arg {
    fn from(x: usize) -> Arg {
        Arg::I32(i32::try_from(x).expect("sizes on the device fit 31 bits"))
    }
}

impl From<f32> for Arg {
    fn from(x: f32) -> Arg {
        Arg::F32(x)
    }
}

impl From<f64> for Arg {
    fn from(x: f64) -> Arg {
        Arg::F64(x)
    }
}

impl From<bool> for Arg {
    fn from(x: bool) -> Arg {
        Arg::I32(i32::from(x))
    }
}

/// How many blocks of how many threads, and bytes of shared memory whose size the launch decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub blocks: [u32; 3],
    pub threads: u32,
    pub shared: u32,
}

impl Grid {
    /// `blocks` blocks of `threads` threads.
    pub fn of(blocks: usize, threads: u32) -> Grid {
        Grid { blocks: [size(blocks), 1, 1], threads, shared: 0 }
    }

    /// A plane of blocks.
    pub fn plane(x: usize, y: usize, threads: u32) -> Grid {
        assert!(y <= 65_535, "cuda: {y} blocks in the second direction");
        Grid { blocks: [size(x), size(y), 1], threads, shared: 0 }
    }

    /// One thread for each of `n` items.
    pub fn each(n: usize) -> Grid {
        Grid::of(n.div_ceil(256), 256)
    }

    /// With this much shared memory.
    pub fn shared(self, bytes: usize) -> Grid {
        Grid { shared: size(bytes), ..self }
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.contains(&0)
    }
}

fn size(n: usize) -> u32 {
    u32::try_from(n).ok().filter(|&n| n <= i32::MAX as u32).expect("a grid fits 31 bits")
}

/// The kernels of a source, each with the kinds of its arguments as [`Arg::kind`] writes them.
pub(crate) fn signatures(source: &str) -> Vec<(String, Vec<String>)> {
    const OPENING: &str = "__global__ void ";
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(OPENING) {
        rest = &rest[at + OPENING.len()..];
        let (Some(open), Some(close)) = (rest.find('('), rest.find(')')) else { break };
        let kinds = rest[open + 1..close].split(',').map(kind).collect();
        found.push((rest[..open].trim().to_string(), kinds));
    }
    found
}

/// `const float *x` → `float*`.
fn kind(parameter: &str) -> String {
    let spaced = parameter.replace('*', " * ");
    let mut words: Vec<&str> =
        spaced.split_whitespace().filter(|w| !["const", "__restrict__", "*"].contains(w)).collect();
    words.pop();
    format!("{}{}", words.join(" "), if parameter.contains('*') { "*" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_from_the_source() {
        let source = "extern \"C\" __global__ void a(const float *x, bf16 *y, u64 seed,\n  int n) {}\n__global__ void b(double *s) {}";
        let found = signatures(source);
        assert_eq!(found[0].0, "a");
        assert_eq!(found[0].1, ["float*", "bf16*", "u64", "int"]);
        assert_eq!(found[1], ("b".to_string(), vec!["double*".to_string()]));
    }
}
