//! Core's kernels of pair tables, to be compiled for the CPU.

use mixlet_core::em::EmError;
use mixlet_core::observations::PackedRows;
use mixlet_core::select::Estimator;
use mixlet_core::select::columns::{self, PairTables, Stripe};

use crate::simd::Kernel;

pub struct Margins<'a> {
    pub bits: PackedRows<'a>,
    pub weights: &'a [f64],
    pub margins: &'a mut [f64],
}

impl Kernel for Margins<'_> {
    type Output = Result<f64, EmError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        columns::add_margins(self.bits, Some(self.weights), self.margins)
    }
}

pub struct CountPairs<'a> {
    pub stripe: Stripe<'a>,
    pub columns: PackedRows<'a>,
    pub sums: &'a mut [f64],
}

impl Kernel for CountPairs<'_> {
    type Output = Result<(), EmError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        columns::count_pairs(self.stripe, self.columns, self.sums)
    }
}

pub struct WeighPairs<'a> {
    pub stripe: Stripe<'a>,
    pub weights: &'a [f64],
    pub sums: &'a mut [f64],
    pub scratch: &'a mut [f64],
}

impl Kernel for WeighPairs<'_> {
    type Output = Result<(), EmError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        columns::weigh_pairs(self.stripe, self.weights, self.sums, self.scratch)
    }
}

pub struct Information<'a> {
    pub tables: PairTables<'a>,
    pub estimator: Estimator,
    pub out: &'a mut [f64],
    pub scratch: &'a mut [f64],
}

impl Kernel for Information<'_> {
    type Output = Result<(), EmError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        self.tables.information(self.estimator, self.out, self.scratch)
    }
}
