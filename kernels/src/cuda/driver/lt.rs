//! Matrix products by cuBLASLt. It thinks in columns: a row-major C = A·B is its Cᵀ = Bᵀ·Aᵀ, so the operands change places and
//! nothing is moved.

use std::collections::HashMap;
use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::result as driver;

use super::super::{Error, Operand, Product, libraries};

/// Bytes that an algorithm may use beside its operands; NVIDIA advises 32 MiB for Hopper.
const WORKSPACE: usize = 32 << 20;

pub(super) struct Products {
    handle: sys::cublasLtHandle_t,
    workspace: u64,
    plans: HashMap<Key, Plan>,
}

/// All that the choice of an algorithm depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    sizes: [usize; 3],
    operands: [(bool, usize, bool, u32); 3],
    add: bool,
}

struct Plan {
    product: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Products {
    pub fn new() -> Result<Products, Error> {
        libraries::cublaslt()?;
        let handle = result::create_handle().map_err(|e| Error::failed("cublasLt", e))?;
        // SAFETY: a size above 0; freed with the context.
        let workspace =
            unsafe { driver::malloc_sync(WORKSPACE) }.map_err(|e| Error::failed("cublasLt", e))?;
        Ok(Products { handle, workspace, plans: HashMap::new() })
    }

    pub fn run(
        &mut self,
        op: &'static str,
        p: &Product,
        stream: cudarc::driver::sys::CUstream,
    ) -> Result<(), Error> {
        let key = Key { sizes: [p.m, p.n, p.k], operands: [p.a, p.b, p.c].map(|o| side(&o)), add: p.add };
        if !self.plans.contains_key(&key) {
            let plan = self.plan(p).map_err(|e| Error::failed(op, format!("cublasLt for {p:?}: {e}")))?;
            self.plans.insert(key, plan);
        }
        let plan = &self.plans[&key];
        let (alpha, beta) = (1f32, f32::from(u8::from(p.add)));
        // SAFETY: the operands' buffers hold what the layouts say; scalars are read before the call returns.
        unsafe {
            result::matmul(
                self.handle,
                plan.product,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                p.b.at as *const c_void,
                plan.layouts[0],
                p.a.at as *const c_void,
                plan.layouts[1],
                p.c.at as *const c_void,
                plan.layouts[2],
                p.c.at as *mut c_void,
                plan.layouts[2],
                &raw const plan.algorithm,
                self.workspace as *mut c_void,
                WORKSPACE,
                stream.cast(),
            )
        }
        .map_err(|e| Error::failed(op, format!("cublasLt: {e}")))
    }

    fn plan(&self, p: &Product) -> Result<Plan, result::CublasError> {
        use sys::cublasLtMatmulDescAttributes_t as D;
        use sys::cublasLtMatmulPreferenceAttributes_t as P;
        // f32 operands are multiplied as f32: no TF32.
        let product = result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType_t::CUDA_R_32F,
        )?;
        let attribute = |which, value: i32| {
            // SAFETY: the descriptor was just made; these attributes are 32-bit.
            unsafe { result::set_matmul_desc_attribute(product, which, (&raw const value).cast(), 4) }
        };
        attribute(D::CUBLASLT_MATMUL_DESC_TRANSA, i32::from(p.b.transposed))?;
        attribute(D::CUBLASLT_MATMUL_DESC_TRANSB, i32::from(p.a.transposed))?;
        let layouts = [layout(&p.b, p.k, p.n)?, layout(&p.a, p.m, p.k)?, layout(&p.c, p.m, p.n)?];
        let preference = result::create_matmul_pref()?;
        let prefer = |which, value: *const c_void, size: usize| {
            // SAFETY: the preference was just made; each value has the size of its attribute.
            unsafe { result::set_matmul_pref_attribute(preference, which, value, size) }
        };
        prefer(
            P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            (&raw const WORKSPACE_SIZE).cast(),
            size_of::<usize>(),
        )?;
        if p.c.half {
            // A sum over k that is cut is put together in f32, not in the type of the result.
            prefer(P::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, (&raw const IN_F32).cast(), 4)?;
        }
        for (which, operand) in [
            (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &p.b),
            (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &p.a),
            (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &p.c),
            (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &p.c),
        ] {
            let alignment = side(operand).3;
            prefer(which, (&raw const alignment).cast(), 4)?;
        }
        // SAFETY: everything named was made above.
        let best = unsafe {
            let [b, a, c] = layouts;
            let best = result::get_matmul_algo_heuristic(self.handle, product, b, a, c, c, preference);
            let _ = result::destroy_matmul_pref(preference);
            best?
        };
        Ok(Plan { product, layouts, algorithm: best.algo })
    }
}

static WORKSPACE_SIZE: usize = WORKSPACE;
static IN_F32: u32 = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;

/// Type, stride, transposition and alignment of an operand.
fn side(o: &Operand) -> (bool, usize, bool, u32) {
    (o.half, o.stride, o.transposed, 1 << o.at.trailing_zeros().min(8))
}

/// The layout of what is stored for a row-major operand of `rows` × `columns`: its columns are cuBLASLt's rows.
fn layout(
    o: &Operand,
    rows: usize,
    columns: usize,
) -> Result<sys::cublasLtMatrixLayout_t, result::CublasError> {
    let kind = if o.half { sys::cudaDataType_t::CUDA_R_16BF } else { sys::cudaDataType_t::CUDA_R_32F };
    let (stored_rows, stored_columns) = if o.transposed { (columns, rows) } else { (rows, columns) };
    result::create_matrix_layout(kind, stored_columns as u64, stored_rows as u64, o.stride as i64)
}

impl Drop for Products {
    fn drop(&mut self) {
        for plan in self.plans.values() {
            // SAFETY: made by `plan` and used by nobody any more.
            unsafe {
                let _ = result::destroy_matmul_desc(plan.product);
                for layout in plan.layouts {
                    let _ = result::destroy_matrix_layout(layout);
                }
            }
        }
        // SAFETY: as above.
        unsafe {
            let _ = result::destroy_handle(self.handle);
            let _ = driver::free_sync(self.workspace);
        }
    }
}
