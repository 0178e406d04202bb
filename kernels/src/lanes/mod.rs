//! Sixteen f32 side by side: one source for every instruction set, with the same bits on each.
//!
//! A kernel is one `#[inline(always)]` function, generic over [`Lanes`]; `on_lanes!` compiles it for AVX-512, for
//! AVX2 + FMA and for the plain target, and picks at run time. Every operation here is a single IEEE operation on
//! each lane (multiply-add is fused everywhere), so the three agree bit for bit.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exp;
mod plain;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use exp::{exp, exp_wide, ln, log1p};
pub(crate) use plain::Plain;

/// Lanes of one vector.
pub(crate) const WIDTH: usize = 16;

/// Sixteen f32 lanes.
///
/// A type other than `Plain` may only be used inside a function compiled for its instruction set, on a machine that
/// has it; `on_lanes!` is the one place that names them.
pub(crate) trait Lanes: Copy {
    /// Query rows whose scores fit into the registers together; a matter of speed only.
    const TILE: usize;

    fn splat(x: f32) -> Self;
    /// # Safety
    /// Sixteen values must be readable at `from`.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `n` ≤ 16 values; the lanes after them are 0.
    /// # Safety
    /// `n` values must be readable at `from`.
    unsafe fn load_first(from: *const f32, n: usize) -> Self;
    /// The even ones of 32 bf16, widened (exactly), then the odd ones.
    /// # Safety
    /// 32 values must be readable at `from`.
    unsafe fn load_halves(from: *const u16) -> [Self; 2];
    /// # Safety
    /// Sixteen values must be writable at `to`.
    unsafe fn store(self, to: *mut f32);
    /// Stores the first `n` ≤ 16 lanes.
    /// # Safety
    /// `n` values must be writable at `to`.
    unsafe fn store_first(self, to: *mut f32, n: usize);
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    /// self · b + c, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    /// self where self > b, else b (so b where either is NaN).
    fn max(self, b: Self) -> Self;
    /// self where self < b, else b (so b where either is NaN).
    fn min(self, b: Self) -> Self;
    /// The first `n` lanes of self, the others of `other`.
    fn first(self, n: usize, other: Self) -> Self;
    /// self · 2^n rounded once; n holds integers in −160..=130, self is normal or NaN.
    fn scale(self, n: Self) -> Self;
    /// (x1, x0, x3, x2, …).
    fn swap_pairs(self) -> Self;
    fn array(self) -> [f32; WIDTH];

    /// Sum of the lanes: lane i + lane i + 8, then + 4, + 2, + 1.
    #[inline(always)]
    fn sum(self) -> f32 {
        let mut a = self.array();
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                a[i] += a[i + half];
            }
        }
        a[0]
    }

    /// Sixteen values of each of sixteen rows become sixteen columns: `to[d · stride + j] = rows[j][d]`.
    ///
    /// # Safety
    /// Sixteen values must be readable at each row and writable at `to + d · stride`, d < 16.
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32; WIDTH], to: *mut f32, stride: usize) {
        for d in 0..WIDTH {
            for (j, row) in rows.iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { *to.add(d * stride + j) = *row.add(d) }
            }
        }
    }

    /// The greatest lane (no NaN).
    #[inline(always)]
    fn greatest(self) -> f32 {
        let mut a = self.array();
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                a[i] = if a[i] > a[i + half] { a[i] } else { a[i + half] };
            }
        }
        a[0]
    }
}

/// `n` values (all sixteen, or the last few) at `from`; missing lanes are 0.
///
/// # Safety
/// `n.min(16)` values must be readable at `from`.
#[inline(always)]
pub(crate) unsafe fn load_upto<V: Lanes>(from: *const f32, n: usize) -> V {
    // SAFETY: the caller's promise.
    unsafe { if n >= WIDTH { V::load(from) } else { V::load_first(from, n) } }
}

/// Stores `n` lanes (all sixteen, or the first few).
///
/// # Safety
/// `n.min(16)` values must be writable at `to`.
#[inline(always)]
pub(crate) unsafe fn store_upto<V: Lanes>(x: V, to: *mut f32, n: usize) {
    // SAFETY: the caller's promise.
    unsafe { if n >= WIDTH { x.store(to) } else { x.store_first(to, n) } }
}

/// One function from one body generic over [`Lanes`], compiled for every instruction set, chosen at run time.
///
/// ```ignore
/// on_lanes! {
///     /// Doc comment.
///     pub(super) fn twice(x: &mut [f32]) = twice_body;
/// }
/// ```
/// Everything that the body calls must be `#[inline(always)]`, else it is compiled for the plain target.
macro_rules! on_lanes {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident;)+) => {$(
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                $body::<$crate::lanes::Avx512>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                $body::<$crate::lanes::Avx2>($($arg),*)
            }
            match $crate::lanes::level() {
                // SAFETY: a level is never above what the machine reports.
                #[cfg(target_arch = "x86_64")]
                level if level >= $crate::isa::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => $body::<$crate::lanes::Plain>($($arg),*),
            }
        }
    )+};
}

/// The level that `on_lanes!` functions run on.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn level() -> crate::Isa {
    crate::isa::active()
}

#[cfg(test)]
pub(crate) use tests::{each_level, level};

#[cfg(test)]
mod tests;
