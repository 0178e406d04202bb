//! Sixteen lanes as an array: what any target has.

use super::{Lanes, WIDTH};

#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; WIDTH]);

impl Plain {
    #[inline(always)]
    fn each(self, b: Plain, f: impl Fn(f32, f32) -> f32) -> Plain {
        Plain(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl Lanes for Plain {
    const TILE: usize = 2;

    #[inline(always)]
    fn splat(x: f32) -> Plain {
        Plain([x; WIDTH])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Plain {
        // SAFETY: the caller's promise; an array of f32 needs no more alignment than f32.
        Plain(unsafe { *from.cast::<[f32; WIDTH]>() })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Plain {
        // SAFETY: only the first n are read.
        Plain(std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn load_halves(from: *const u16) -> [Plain; 2] {
        // SAFETY: the caller's promise.
        let half = |at: usize| f32::from_bits(u32::from(unsafe { *from.add(at) }) << 16);
        [0, 1].map(|odd| Plain(std::array::from_fn(|i| half(2 * i + odd))))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { *to.cast::<[f32; WIDTH]>() = self.0 }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        for i in 0..n.min(WIDTH) {
            // SAFETY: the caller's promise.
            unsafe { *to.add(i) = self.0[i] }
        }
    }
    #[inline(always)]
    fn add(self, b: Plain) -> Plain {
        self.each(b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, b: Plain) -> Plain {
        self.each(b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, b: Plain) -> Plain {
        self.each(b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, b: Plain) -> Plain {
        self.each(b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, b: Plain, c: Plain) -> Plain {
        Plain(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
    }
    #[inline(always)]
    fn max(self, b: Plain) -> Plain {
        self.each(b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, b: Plain) -> Plain {
        self.each(b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn first(self, n: usize, other: Plain) -> Plain {
        Plain(std::array::from_fn(|i| if i < n { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    fn scale(self, n: Plain) -> Plain {
        // Two factors, each a normal power of two: the first product is exact, the second rounds once.
        self.each(n, |x, n| {
            let n = n as i32;
            let (a, b) = (n >> 1, n - (n >> 1));
            x * f32::from_bits(((a + 127) << 23) as u32) * f32::from_bits(((b + 127) << 23) as u32)
        })
    }
    #[inline(always)]
    fn swap_pairs(self) -> Plain {
        Plain(std::array::from_fn(|i| self.0[i ^ 1]))
    }
    #[inline(always)]
    fn array(self) -> [f32; WIDTH] {
        self.0
    }
}
