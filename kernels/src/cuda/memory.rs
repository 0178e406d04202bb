//! Typed memory on a device: [`Buffer`] owns, [`View`] and [`ViewMut`] are parts of it.

use std::marker::PhantomData;
use std::ops::Range;

use super::{Device, Error};

mod sealed {
    pub trait Sealed {}
}

/// What a buffer may hold. `NAME` is the type's name in the device code.
pub trait Element: Copy + Send + Sync + Default + 'static + sealed::Sealed {
    /// The type's name in the device code.
    const NAME: &'static str;
}

macro_rules! element {
    ($($t:ty = $name:literal),*) => { $(
        impl sealed::Sealed for $t {}
        impl Element for $t { const NAME: &'static str = $name; }
    )* };
}
element!(f32 = "float", f64 = "double", u16 = "bf16", u32 = "u32", i32 = "int", u64 = "u64", u8 = "u8");

/// f32, or bf16 by its bits: what activations and operands are kept in.
pub trait Float: Element {
    /// End of a kernel's name.
    const SUFFIX: &'static str;
    /// Whether this is bf16.
    const HALF: bool;
    /// To f32.
    fn widen(self) -> f32;
    /// From f32, to nearest even.
    fn narrow(x: f32) -> Self;
}

impl Float for f32 {
    const SUFFIX: &'static str = "f32";
    const HALF: bool = false;
    fn widen(self) -> f32 {
        self
    }
    fn narrow(x: f32) -> f32 {
        x
    }
}

impl Float for u16 {
    const SUFFIX: &'static str = "bf16";
    const HALF: bool = true;
    fn widen(self) -> f32 {
        half::bf16::from_bits(self).to_f32()
    }
    fn narrow(x: f32) -> u16 {
        half::bf16::from_f32(x).to_bits()
    }
}

/// Memory on a device. Freed when dropped: its block waits in the device's store for the next buffer of its size.
pub struct Buffer<T: Element> {
    device: Device,
    at: u64,
    len: usize,
    kind: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// Memory with whatever is in it; `op` says who asks.
    ///
    /// # Errors
    /// Out of memory.
    pub fn uninit(device: &Device, op: &'static str, len: usize) -> Result<Buffer<T>, Error> {
        let at = if len == 0 { 0 } else { device.take(op, len * size_of::<T>())? };
        Ok(Buffer { device: device.clone(), at, len, kind: PhantomData })
    }

    /// Zeros.
    ///
    /// # Errors
    /// Out of memory.
    pub fn zeros(device: &Device, op: &'static str, len: usize) -> Result<Buffer<T>, Error> {
        let mut buffer = Buffer::uninit(device, op, len)?;
        buffer.all_mut().clear(op)?;
        Ok(buffer)
    }

    /// A copy of values of the host.
    ///
    /// # Errors
    /// Out of memory, or the copy failed.
    pub fn of(device: &Device, op: &'static str, values: &[T]) -> Result<Buffer<T>, Error> {
        let mut buffer = Buffer::uninit(device, op, values.len())?;
        buffer.all_mut().upload(op, values)?;
        Ok(buffer)
    }

    /// Values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it lies.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// All of it.
    pub fn all(&self) -> View<'_, T> {
        self.part(0..self.len)
    }

    /// All of it, to write.
    pub fn all_mut(&mut self) -> ViewMut<'_, T> {
        self.part_mut(0..self.len)
    }

    /// A part.
    ///
    /// # Panics
    /// When it does not lie within.
    pub fn part(&self, range: Range<usize>) -> View<'_, T> {
        self.check(&range);
        View {
            device: &self.device,
            at: self.at + (range.start * size_of::<T>()) as u64,
            len: range.len(),
            kind: PhantomData,
        }
    }

    /// A part, to write.
    ///
    /// # Panics
    /// When it does not lie within.
    pub fn part_mut(&mut self, range: Range<usize>) -> ViewMut<'_, T> {
        ViewMut(self.part(range))
    }

    /// The values, on the host: waits for all work before.
    ///
    /// # Errors
    /// The copy, or some work before it, failed.
    pub fn download(&self, op: &'static str) -> Result<Vec<T>, Error> {
        self.all().download(op)
    }

    fn check(&self, range: &Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "cuda: {}..{} of a buffer of {} values",
            range.start,
            range.end,
            self.len
        );
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.len > 0 {
            self.device.give(self.at, self.len * size_of::<T>());
        }
    }
}

/// A part of a buffer.
#[derive(Clone, Copy)]
pub struct View<'a, T: Element> {
    device: &'a Device,
    at: u64,
    len: usize,
    kind: PhantomData<T>,
}

impl<'a, T: Element> View<'a, T> {
    /// Values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its address on the device.
    pub(crate) fn address(&self) -> u64 {
        self.at
    }

    /// Whether rows of `c` values can be read four values at once.
    pub(crate) fn wide(&self, c: usize) -> bool {
        c.is_multiple_of(4) && self.at.is_multiple_of(4 * size_of::<T>() as u64)
    }

    /// The same bytes as values of another type.
    ///
    /// # Panics
    /// When they are no whole number of these, or lie askew for them.
    pub fn cast<U: Element>(self) -> View<'a, U> {
        let bytes = self.len * size_of::<T>();
        assert!(
            bytes.is_multiple_of(size_of::<U>()) && self.at.is_multiple_of(size_of::<U>() as u64),
            "cuda: {bytes} bytes as {}",
            U::NAME
        );
        View { device: self.device, at: self.at, len: bytes / size_of::<U>(), kind: PhantomData }
    }

    /// A part of the part.
    ///
    /// # Panics
    /// When it does not lie within.
    pub fn part(&self, range: Range<usize>) -> View<'a, T> {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "cuda: {range:?} of a view of {} values",
            self.len
        );
        View { at: self.at + (range.start * size_of::<T>()) as u64, len: range.len(), ..*self }
    }

    /// The values, on the host: waits for all work before.
    ///
    /// # Errors
    /// The copy, or some work before it, failed.
    pub fn download(&self, op: &'static str) -> Result<Vec<T>, Error> {
        let mut values = vec![T::default(); self.len];
        if self.len > 0 {
            // SAFETY: every Element is plain bytes, any of which are a value.
            let bytes = unsafe {
                std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), size_of_val(&values[..]))
            };
            self.device.read(op, self.at, bytes)?;
        }
        Ok(values)
    }
}

/// A part of a buffer, to write.
pub struct ViewMut<'a, T: Element>(View<'a, T>);

impl<'a, T: Element> ViewMut<'a, T> {
    /// As [`View::cast`].
    ///
    /// # Panics
    /// As there.
    pub fn cast<U: Element>(self) -> ViewMut<'a, U> {
        ViewMut(self.0.cast())
    }

    /// The first `at` values, and the others.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn split(self, at: usize) -> (ViewMut<'a, T>, ViewMut<'a, T>) {
        (ViewMut(self.0.part(0..at)), ViewMut(self.0.part(at..self.0.len)))
    }
}

impl<T: Element> ViewMut<'_, T> {
    /// Values.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    pub(crate) fn address(&self) -> u64 {
        self.0.at
    }

    /// The same part, to read.
    pub fn view(&self) -> View<'_, T> {
        self.0
    }

    /// The same part again, for a shorter time.
    pub fn again(&mut self) -> ViewMut<'_, T> {
        ViewMut(self.0)
    }

    /// A part of the part, to write.
    ///
    /// # Panics
    /// When it does not lie within.
    pub fn part_mut(&mut self, range: Range<usize>) -> ViewMut<'_, T> {
        ViewMut(self.0.part(range))
    }

    /// Copies values of the host here.
    ///
    /// # Errors
    /// The copy failed.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn upload(&mut self, op: &'static str, values: &[T]) -> Result<(), Error> {
        assert_eq!(values.len(), self.0.len, "{op}: upload of another length");
        if values.is_empty() {
            return Ok(());
        }
        // SAFETY: every Element is plain bytes.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
        self.0.device.write(op, self.0.at, bytes)
    }

    /// Copies values of the host here that lie as bytes, the low one first, as files have them.
    ///
    /// # Errors
    /// The copy failed.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn upload_bytes(&mut self, op: &'static str, bytes: &[u8]) -> Result<(), Error> {
        assert_eq!(bytes.len(), self.0.len * size_of::<T>(), "{op}: upload of another length");
        if bytes.is_empty() { Ok(()) } else { self.0.device.write(op, self.0.at, bytes) }
    }

    /// Copies values of the device here.
    ///
    /// # Errors
    /// The copy failed.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn copy_from(&mut self, op: &'static str, from: View<'_, T>) -> Result<(), Error> {
        assert_eq!(from.len, self.0.len, "{op}: copy of another length");
        if from.len == 0 {
            Ok(())
        } else {
            self.0.device.copy(op, from.at, self.0.at, from.len * size_of::<T>())
        }
    }

    /// Zeros it.
    ///
    /// # Errors
    /// The device refused.
    pub fn clear(&mut self, op: &'static str) -> Result<(), Error> {
        if self.0.len == 0 { Ok(()) } else { self.0.device.clear(op, self.0.at, self.0.len * size_of::<T>()) }
    }
}

impl<'a, T: Element> From<&'a Buffer<T>> for View<'a, T> {
    fn from(buffer: &'a Buffer<T>) -> View<'a, T> {
        buffer.all()
    }
}

impl<'a, T: Element> From<&'a mut Buffer<T>> for ViewMut<'a, T> {
    fn from(buffer: &'a mut Buffer<T>) -> ViewMut<'a, T> {
        buffer.all_mut()
    }
}
