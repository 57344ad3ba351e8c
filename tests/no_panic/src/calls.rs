//! One call for each public function of core; those of a type are written `Type::function`.

pub mod basics;
pub mod em;
pub mod experts;
pub mod moe;
pub mod nn;
pub mod optim;
pub mod select;

pub fn all() {
    basics::all();
    em::all();
    select::all();
    moe::all::<f32>();
    moe::all::<f64>();
    experts::all();
    nn::all::<f32>();
    nn::all::<f64>();
    optim::all();
}
