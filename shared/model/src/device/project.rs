//! Products with a policy's matrices, their adapters' included, and norms with its vectors, on a device.

use anyhow::Result;
use r1_kernels::cuda::{Buffer, View, ViewMut};
use r1_kernels::{linear, rmsnorm};

use super::tensors::{Compute, Gradients, Network};

impl Network {
    /// `x · Wᵀ` for parameter `i`.
    pub(super) fn project<A: Compute>(
        &self,
        x: View<'_, A>,
        i: usize,
        bias: Option<usize>,
    ) -> Result<Buffer<A>> {
        let (n, k) = self.size(i);
        let (rows, bias, w) = (x.len() / k, bias.map(|b| self.vector(b)), A::operand(self, i));
        if let Some((pair, _)) = self.adapted::<A>(i) {
            // The sums go on in f32 and are rounded once.
            let mut y: Buffer<f32> = Buffer::uninit(&self.device, "linear::forward", rows * n)?;
            linear::cuda::forward(&self.device, x, w, n, k, bias, y.all_mut())?;
            pair.forward_add(&self.device, x, y.all_mut())?;
            return A::rounded(&self.device, y);
        }
        let mut y = Buffer::uninit(&self.device, "linear::forward", rows * n)?;
        linear::cuda::forward(&self.device, x, w, n, k, bias, y.all_mut())?;
        Ok(y)
    }

    /// As [`Network::project`], but for the bias where it comes last: that one is given back, to be added with what comes next.
    pub(super) fn project_unbiased<A: Compute>(
        &self,
        x: View<'_, A>,
        i: usize,
        bias: Option<usize>,
    ) -> Result<(Buffer<A>, Option<View<'_, f32>>)> {
        if self.adapted::<A>(i).is_some() {
            return Ok((self.project(x, i, bias)?, None));
        }
        Ok((self.project(x, i, None)?, bias.map(|b| self.vector(b))))
    }

    /// `y += x · Wᵀ` for parameter `i`.
    pub(super) fn project_add<A: Compute>(
        &self,
        x: View<'_, A>,
        i: usize,
        mut y: ViewMut<'_, f32>,
    ) -> Result<()> {
        let (n, k) = self.size(i);
        linear::cuda::forward_add(&self.device, x, A::operand(self, i), n, k, y.again())?;
        match self.adapted::<A>(i) {
            Some((pair, _)) => Ok(pair.forward_add(&self.device, x, y)?),
            None => Ok(()),
        }
    }

    /// `dx = dy · W`, in the type that the next operation takes.
    pub(super) fn back<A: Compute>(&self, dy: View<'_, A>, i: usize) -> Result<Buffer<A>> {
        let (n, k) = self.size(i);
        if self.adapted::<A>(i).is_some() {
            let mut dx = Buffer::uninit(&self.device, "linear::backward_input", dy.len() / n * k)?;
            self.back_into(dy, i, &mut dx, false)?;
            return A::rounded(&self.device, dx);
        }
        let mut dx = Buffer::uninit(&self.device, "linear::backward_input", dy.len() / n * k)?;
        linear::cuda::backward_input(&self.device, dy, A::operand(self, i), n, k, dx.all_mut(), false)?;
        Ok(dx)
    }

    /// `dx (+)= dy · W` in f32.
    pub(super) fn back_into<A: Compute>(
        &self,
        dy: View<'_, A>,
        i: usize,
        dx: &mut Buffer<f32>,
        accumulate: bool,
    ) -> Result<()> {
        let ((n, k), d, w) = (self.size(i), &self.device, A::operand(self, i));
        linear::cuda::backward_input(d, dy, w, n, k, dx.all_mut(), accumulate)?;
        match self.adapted::<A>(i) {
            Some((pair, _)) => Ok(pair.backward_input_add(d, dy, dx.all_mut())?),
            None => Ok(()),
        }
    }

    /// `dW += dyᵀ x`, and the bias likewise; in a frozen network the adapter's instead.
    pub(super) fn learn<A: Compute>(
        &self,
        dy: View<'_, A>,
        x: View<'_, A>,
        i: usize,
        bias: Option<usize>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let (n, k) = self.size(i);
        if let Some(dw) = grads.of(i) {
            linear::cuda::backward_weight(&self.device, dy, x, n, k, dw)?;
        }
        if let Some(db) = bias.and_then(|b| grads.of(b)) {
            linear::cuda::backward_bias(&self.device, dy, db)?;
        }
        if let Some((pair, at)) = self.adapted::<A>(i) {
            let [da, db] = &mut grads.values[at..at + 2] else { unreachable!("an A and a B") };
            pair.backward_weights(&self.device, dy, x, da.all_mut(), db.all_mut())?;
        }
        Ok(())
    }

    /// RMSNorm of rows of `w`'s length: (y, rstd).
    pub(super) fn normed<X: Compute, A: Compute>(
        &self,
        x: View<'_, X>,
        i: usize,
        eps: f32,
    ) -> Result<(Buffer<A>, Buffer<f32>)> {
        let w = self.vector(i);
        let mut y = Buffer::uninit(&self.device, "rmsnorm::forward", x.len())?;
        let mut rstd = Buffer::uninit(&self.device, "rmsnorm::forward", x.len() / w.len())?;
        rmsnorm::cuda::forward(&self.device, x, w, eps, y.all_mut(), rstd.all_mut())?;
        Ok((y, rstd))
    }

    /// Backward of [`Network::normed`], rounded to what products take.
    pub(super) fn norm_backward<A: Compute>(
        &self,
        dy: &Buffer<A>,
        x: &Buffer<A>,
        rstd: &Buffer<f32>,
        i: usize,
        grads: &mut Gradients,
    ) -> Result<Buffer<A>> {
        let d = &self.device;
        let mut dx: Buffer<f32> = Buffer::uninit(d, "rmsnorm::backward", x.len())?;
        let dw = grads.of(i);
        rmsnorm::cuda::backward(d, dy.all(), x.all(), self.vector(i), rstd.all(), dx.all_mut(), dw, false)?;
        A::rounded(d, dx)
    }
}
