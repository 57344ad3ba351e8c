//! Numbers, matrices, products with weights, observations.

use mixlet_core::activation::{self, Activation};
use mixlet_core::arch;
use mixlet_core::half::{bf16, f16};
use mixlet_core::linear::*;
use mixlet_core::matrix::*;
use mixlet_core::numeric;
use mixlet_core::observations::*;
use mixlet_core::small::{assign, eigen};
use mixlet_core::weights::*;

use crate::call;
use crate::unknown::any;

pub fn all() {
    numbers();
    matrices::<f32>();
    matrices::<bf16>();
    matrices::<f16>();
    matrices::<i8>();
    matrices::<u8>();
    weights();
    products();
    rounded_sums();
    crowds();
    rows();
}

fn numbers() {
    call(|| activation::exp(any()));
    call(|| activation::sigmoid(any()));
    call(|| Activation::value(any(), any()));
    call(|| Activation::value_and_slope(any(), any()));
    call(|| numeric::exp_slice(any()));
    call(|| numeric::ln_slice(any()));
    call(|| numeric::sum(any()));
    call(|| numeric::dot(any(), any()));
    call(|| numeric::log_sum_exp(any()));
    call(|| numeric::softmax_rows(any(), any(), any()));
    call(|| eigen(any(), any(), any()));
    call(|| assign(any(), any()));
}

fn matrices<T>() {
    call(|| MatRef::<T>::new(any(), any(), any()));
    call(|| MatRef::<T>::rows(&any()));
    call(|| MatRef::<T>::columns(&any()));
    call(|| MatRef::<T>::values(&any()));
    call(|| MatRef::<T>::row(&any(), any()));
    call(|| MatRef::<T>::each_row(any()).for_each(|row| call(|| row)));
    call(|| MatRef::<T>::row_range(&any(), any()));
    call(|| MatMut::<T>::new(any(), any(), any()));
    call(|| MatMut::<T>::rows(&any()));
    call(|| MatMut::<T>::columns(&any()));
    call(|| MatMut::<T>::values(&mut any()).len());
    call(|| MatMut::<T>::into_values(any()));
    call(|| MatMut::<T>::as_ref(&any()).rows());
    call(|| MatMut::<T>::as_mut(&mut any()).rows());
    call(|| MatMut::<T>::row_range(&mut any(), any()).is_ok());
}

fn weights() {
    call(|| Int8::new(any(), any()));
    call(|| Int8::values(&any()));
    call(|| Int8::scales(&any()));
    call(|| Int4::new(any(), any()));
    call(|| Int4::nibbles(&any()));
    call(|| Int4::scales(&any()));
    call(|| Weights::outputs(&any()));
    call(|| Weights::inputs(&any()));
    call(|| Weights::bytes(&any()));
    call(|| Weights::output_range(&any(), any()));
    call(|| quantise_int8(any(), any(), any()));
    call(|| quantise_int4(any(), any(), any()));
    call(|| dequantise(any(), any()));
}

fn products() {
    call(|| Linear::new(any()));
    call(|| Linear::with_bias(any(), any()));
    call(|| Linear::weights(&any()));
    call(|| Linear::bias(&any()));
    call(|| Linear::output_range(&any(), any()));
    call(|| ScratchLen::max(any(), any()));
    call(|| Scratch::lend(&mut any()).floats.len());
    call(|| linear_scratch_len(any()));
    call(|| linear_forward::<Plain>(any(), any(), any(), any(), any()));
    call(|| linear_backward_input_scratch_len(any()));
    call(|| linear_backward_input::<Plain>(any(), any(), any(), any(), any()));
    call(|| linear_backward_weights_scratch_len(any()));
    call(|| linear_backward_weights::<Plain>(any(), any(), any(), any()));
    call(|| linear_backward_some_weights::<Plain>(any(), any(), any(), any(), any()));
    call(|| linear_backward_bias(any(), any()));
}

fn rounded_sums() {
    call(|| arch::bf16_dots::<Plain, 2, 3>(any(), any()));
    call(|| arch::int8_dots::<Plain, 2, 3>(any(), any()));
    call(|| arch::int4_dots::<Plain, 2, 3>(any(), any()));
    call(|| arch::bf16_panel::<Plain, 4>(any(), any(), &mut any()));
    call(|| arch::int8_panel::<Plain, 4>(any(), any(), &mut any()));
    call(|| arch::int4_panel::<Plain, 4>(any(), any(), &mut any()));
    call(|| arch::round_block(&any(), &mut any()));
    call(|| arch::transpose::<f32>(any(), any()));
    call(|| <Plain as Arith>::fma(any(), any(), any()));
    call(|| <Plain as Arith>::f32_dots::<2>(any(), any()));
    call(|| <Plain as Arith>::f16_dots(any(), any()));
    call(|| <Plain as Arith>::exact_bf16_dots(any(), any()));
    call(|| <Plain as Arith>::exact_int8_dots(any(), any()));
    call(|| <Plain as Arith>::bf16_dots::<2>(any(), any()));
    call(|| <Plain as Arith>::int8_dots::<2>(any(), any()));
    call(|| <Plain as Arith>::int4_dots::<2>(any(), any()));
    call(|| <Plain as Arith>::bf16_panel::<4>(any(), any(), &mut any()));
    call(|| <Plain as Arith>::int8_panel::<4>(any(), any(), &mut any()));
    call(|| <Plain as Arith>::int4_panel::<4>(any(), any(), &mut any()));
    call(|| <Plain as Arith>::round_block(&any(), &mut any()));
    call(|| <Plain as Arith>::prefetch::<f32>(any()));
    call(|| <Plain as Arith>::transpose::<f32>(any(), any()));
    call(|| <Plain as Arith>::int4_row(any(), any(), any(), any()));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the program is never run.
    unsafe {
        use mixlet_core::arch::x86;
        call(|| x86::f32_dots::<1>(any(), any()));
        call(|| x86::f32_dots::<6>(any(), any()));
        call(|| x86::f16_dots(any(), any()));
        call(|| x86::exact_bf16_dots(any(), any()));
        call(|| x86::exact_int8_dots(any(), any()));
        call(|| x86::bf16_dots::<1>(any(), any()));
        call(|| x86::bf16_dots::<6>(any(), any()));
        call(|| x86::int8_dots::<1>(any(), any()));
        call(|| x86::int8_dots::<4>(any(), any()));
        call(|| x86::int4_dots::<1>(any(), any()));
        call(|| x86::int4_dots::<4>(any(), any()));
        call(|| x86::bf16_panel::<4>(any(), any(), &mut any()));
        call(|| x86::int8_panel::<4>(any(), any(), &mut any()));
        call(|| x86::int4_panel::<4>(any(), any(), &mut any()));
        call(|| x86::round_block(&any(), &mut any()));
        call(|| x86::prefetch_all::<f32>(any()));
        call(|| x86::transpose::<f32>(any(), any()));
        call(|| x86::int4_row(any(), any(), any(), any()));
    }
}

fn crowds() {
    call(|| Answers::new(any(), any(), any(), any()));
    call(|| Answers::tasks(&any()));
    call(|| Answers::workers(&any()));
    call(|| Answers::labels(&any()));
    call(|| Answers::cell_count(&any()));
    call(|| Answers::cells(&any()));
    call(|| Answers::task_offsets(&any()));
    call(|| Answers::task(&any(), any()));
    call(|| Answers::rows(&any(), any()).for_each(|row| call(|| row)));
    call(|| Answers::rows_of_one_length(&any(), any()));
    call(|| Answers::worker(&any(), any()));
    call(|| Answers::label(&any(), any()));
    call(|| group_by_task(any(), any(), any(), any(), any(), any()));
    call(|| WorkerTasks::fill(any(), any(), any()));
    call(|| WorkerTasks::worker(&any(), any()));
}

fn rows() {
    call(|| row_words(any()));
    call(|| PackedRows::new(any(), any(), any()));
    call(|| PackedRows::with_present(any(), any()));
    call(|| PackedRows::rows(&any()));
    call(|| PackedRows::columns(&any()));
    call(|| PackedRows::values(&any()));
    call(|| PackedRows::present(&any()));
    call(|| PackedRows::row(&any(), any()));
    call(|| PackedRows::row_present(&any(), any()));
    call(|| PackedRows::value(&any(), any(), any()));
    call(|| Codes::new(any(), any()));
    call(|| Codes::rows(&any()));
    call(|| Codes::columns(&any()));
    call(|| Codes::levels(&any(), any()));
    call(|| Codes::cell_count(&any()));
    call(|| Codes::level_offsets(&any()));
    call(|| Codes::codes(&any()));
    call(|| Codes::row(&any(), any()));
    call(|| Codes::cell(&any(), any(), any()));
}
