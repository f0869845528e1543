//! Products of single rows on a GPU, which is decoding: kernels of our own, several products at once.

use candle_core::{DType, Result, Tensor, bail};

use super::gpu_numbers::{GpuQuantised, Numbers, SOURCE};
use crate::ops::cuda::{
    Arg, Grid, constant, gpu, int, launch, output, pointer, pointer_of, suffix,
};
use crate::ops::linear::quantised::LEVELS;

/// Rows of W that a block of the single row's kernel takes.
const ROWS_PER_BLOCK: usize = constant(SOURCE, "ROWS_PER_BLOCK");
/// Products that one kernel takes.
const PRODUCTS: usize = constant(SOURCE, "PRODUCTS");
/// Columns of W that a block takes of the product that sums over rows.
const COLUMNS_PER_BLOCK: usize = constant(SOURCE, "COLUMNS_PER_BLOCK");
const _: () = assert!(size_of::<[f32; LEVELS.len()]>() == constant(SOURCE, "SHARED_LEVELS"));

/// Single rows, each times a matrix transposed, in the type of the rows.
pub fn multiply_rows(products: &[(&Numbers, &Tensor)]) -> Result<Vec<Tensor>> {
    let mut outputs = Vec::with_capacity(products.len());
    for (w, x) in products {
        outputs.push(output(x, (1, w.dims()?[0]), x.dtype())?);
    }
    let all = products.iter().zip(&outputs);
    let all: Vec<_> = all.map(|(&(w, x), y)| RowProduct { w, x, y }).collect();
    for alike in all.chunk_by(|a, b| a.kind().ok() == b.kind().ok()) {
        for some in alike.chunks(PRODUCTS) {
            row_products(some, None)?;
        }
    }
    Ok(outputs)
}

/// Single rows, each times a matrix, in f32.
pub fn multiply_columns(products: &[(&Numbers, &Tensor)]) -> Result<Vec<Tensor>> {
    let mut outputs = Vec::with_capacity(products.len());
    let mut all = Vec::with_capacity(products.len());
    for &(w, x) in products {
        let Numbers::Plain(w) = w else {
            bail!("a matrix of low rank is not quantised");
        };
        outputs.push(output(x, (1, w.dim(1)?), DType::F32)?);
        all.push((w, x));
    }
    let all = all.into_iter().zip(&outputs);
    let all: Vec<_> = all.map(|((w, x), y)| ColumnProduct { w, x, y }).collect();
    for alike in all.chunk_by(|a, b| a.kernel().ok() == b.kernel().ok()) {
        for some in alike.chunks(PRODUCTS) {
            column_products(some)?;
        }
    }
    Ok(outputs)
}

/// One row x times W transposed, in f32 whatever the types, so that W is read as it is.
pub struct RowProduct<'a> {
    pub w: &'a Numbers,
    pub x: &'a Tensor,
    pub y: &'a Tensor,
}

impl RowProduct<'_> {
    /// The kernel's name, and the columns of W.
    fn kind(&self) -> Result<(String, usize)> {
        let held = match self.w {
            Numbers::Plain(w) => suffix(w)?.to_string(),
            Numbers::Quantised(quantised) => quantised.form.to_string(),
        };
        let [_, columns] = self.w.dims()?;
        let (x, y) = (suffix(self.x)?, suffix(self.y)?);
        Ok((format!("row_products_{held}_{x}_{y}"), columns))
    }

    /// What W is held as: its numbers, or its codes and their scales.
    fn parts(&self) -> Vec<&Tensor> {
        match self.w {
            Numbers::Plain(w) => vec![w],
            Numbers::Quantised(GpuQuantised { codes, scales, .. }) => vec![codes, scales],
        }
    }

    fn rows(&self) -> Result<usize> {
        Ok(self.w.dims()?[0])
    }
}

/// Up to [`PRODUCTS`] of one kind, of which the first is added to `onto`, `[1, rows]`.
pub(super) fn row_products(products: &[RowProduct], onto: Option<&Tensor>) -> Result<()> {
    let (kernel, columns) = products[0].kind()?;
    for product in products {
        if products.len() > PRODUCTS || product.kind()? != (kernel.clone(), columns) {
            bail!("{} products are no {PRODUCTS} of one kind", products.len());
        }
    }
    let mut args = Vec::new();
    for part in 0..products[0].parts().len() {
        args.extend(each(products, |product| pointer(product.parts()[part]))?);
    }
    if let Numbers::Quantised(first) = products[0].w {
        args.push(pointer(&first.levels)?);
    }
    args.extend(each(products, |product| pointer(product.x))?);
    args.extend(each(products, |product| pointer(product.y))?);
    args.extend(each(products, |product| int(product.rows()?))?);
    let onto = onto.map(|onto| pointer_of(products[0].y.dtype(), onto));
    args.extend([onto.unwrap_or(Ok(Arg::Pointer(0)))?, int(columns)?]);
    let mut rows = 0;
    for product in products {
        rows = rows.max(product.rows()?);
    }
    let x = products[0].x;
    let grid = Grid {
        blocks: [rows.div_ceil(ROWS_PER_BLOCK), products.len(), 1],
        shared: size_of_val(&LEVELS) + columns * x.dtype().size_in_bytes(),
        ..Grid::blocks(1)
    };
    // SAFETY: the kernel's arguments; `mod.rs` checked that shapes agree.
    unsafe { launch(gpu(x)?, &kernel, grid, &args) }
}

/// One row x times W, in f32 whatever the types.
pub struct ColumnProduct<'a> {
    pub w: &'a Tensor,
    pub x: &'a Tensor,
    pub y: &'a Tensor,
}

impl ColumnProduct<'_> {
    fn kernel(&self) -> Result<String> {
        let (w, x, y) = (suffix(self.w)?, suffix(self.x)?, suffix(self.y)?);
        Ok(format!("column_products_{w}_{x}_{y}"))
    }
}

/// Up to [`PRODUCTS`] by one kernel.
pub(super) fn column_products(products: &[ColumnProduct]) -> Result<()> {
    let kernel = products[0].kernel()?;
    for product in products {
        if products.len() > PRODUCTS || product.kernel()? != kernel {
            bail!("{} products are no {PRODUCTS} of one kind", products.len());
        }
    }
    let mut args = Vec::new();
    args.extend(each(products, |product| pointer(product.w))?);
    args.extend(each(products, |product| pointer(product.x))?);
    args.extend(each(products, |product| pointer(product.y))?);
    args.extend(each(products, |product| int(product.w.dim(0)?))?);
    args.extend(each(products, |product| int(product.w.dim(1)?))?);
    let mut columns = 0;
    for product in products {
        columns = columns.max(product.w.dim(1)?);
    }
    let grid = Grid {
        blocks: [columns.div_ceil(COLUMNS_PER_BLOCK), products.len(), 1],
        ..Grid::blocks(1)
    };
    // SAFETY: the kernel's arguments; `mod.rs` checked that shapes agree.
    unsafe { launch(gpu(products[0].x)?, &kernel, grid, &args) }
}

/// An argument for each product that a kernel may take; where there are fewer, the first one's again.
fn each<P>(products: &[P], arg: impl Fn(&P) -> Result<Arg>) -> Result<[Arg; PRODUCTS]> {
    let mut all = [arg(&products[0])?; PRODUCTS];
    for (place, product) in all.iter_mut().zip(products) {
        *place = arg(product)?;
    }
    Ok(all)
}
