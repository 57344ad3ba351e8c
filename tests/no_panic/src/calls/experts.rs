//! Experts.

use mixlet_core::linear::Plain;
use mixlet_core::moe::experts::*;

use crate::call;
use crate::unknown::{Random, any};

pub fn all() {
    call(|| FfnKind::is_gated(any()));
    call(|| Inner::hidden_range(&any::<Ffn<'_>>().inner, any()));
    call(|| Inner::ffn_dim(&any::<Ffn<'_>>().inner));
    call(|| Ffn::shape(&any(), any()));
    call(|| Experts::new(any(), any(), any(), any(), any()));
    call(|| Experts::count(&any()));
    call(|| Experts::model_dim(&any()));
    call(|| Experts::ffn_dim(&any()));
    call(|| Experts::kind(&any()));
    call(|| Experts::expert(&any(), any()));
    call(|| Experts::shape(&any(), any()));
    call(|| FfnShape::cache_len(any()));
    call(|| GroupedRows::new(any(), any()));
    call(|| GroupedRows::rows(&any()));
    call(|| GroupedRows::runs(&any()).for_each(|run| call(|| run)));
    call(|| GroupedRows::longest_run(&any()));
    call(|| GroupedRows::check(&any(), &any()));
    call(|| FfnCache::new(any(), any()).is_ok());
    call(|| FfnCache::with_dropout(any(), any()).is_ok());
    call(|| FfnCache::row_range(&mut any(), any()).is_ok());
    call(|| dropout_mask(&mut Random, any(), any()));
    call(|| ffn_scratch_len(any()));
    call(|| hidden_forward::<Plain>(any::<Ffn<'_>>().inner, any(), any(), any(), any()));
    call(|| ffn_forward::<Plain>(any(), any(), any(), any(), any(), any()));
    call(|| experts_forward::<Plain>(any(), any(), any(), any(), any(), any()));
    call(|| ffn_backward_scratch_len(any()));
    call(|| ffn_backward::<Plain>(any(), any(), any(), any(), any()));
    call(|| ffn_backward_rows_scratch_len(any()));
    call(|| ffn_backward_rows::<Plain>(any(), any(), any(), any(), any(), any()));
    call(|| experts_backward::<Plain>(any(), any(), any(), any(), any(), any()));
    call(|| ExpertsGrads::expert(&mut any(), any(), &any()).is_ok());
    call(|| LinearGrads::output_range(&mut any(), any()).is_ok());
    call(|| add_shared(any(), any(), any()));
    call(|| add_shared_backward(any(), any(), any(), any(), any()));
}
