//! Optimisers.

use mixlet_core::optim::*;

use crate::call;
use crate::unknown::any;

pub fn all() {
    call(|| first_non_finite(any()));
    call(|| scan_gradients([any(), any(), any()]));
    call(|| clip_factor(any(), any(), any()));
    call(|| square_sum(any()));
    call(|| LrSchedule::lr_at(&any(), any()));
    call(|| adamw_step(any(), any(), any(), any(), any()));
    call(|| AdafactorShape::plain(any()));
    call(|| AdafactorShape::matrix(any(), any()));
    call(|| AdafactorShape::of_experts(any(), any(), any()));
    call(|| AdafactorShape::len(&any()));
    call(|| AdafactorShape::is_empty(&any()));
    call(|| adafactor_state_len(any(), any()));
    call(|| adafactor_scratch_len(any()));
    call(|| adafactor_step(any(), any(), any(), any(), any(), any()));
    call(|| sgd_step(any(), any(), any(), any(), any()));
}
