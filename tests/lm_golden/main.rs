//! Ten small models against the vectors that transformers left in `../shared`: hidden states, logits, blocks of experts,
//! routing, losses, and what is written greedily and with beams.

#[path = "../common/mod.rs"]
mod common;
mod golden;

use golden::Golden;

/// What every model must do.
fn check(name: &str) {
    let Some(golden) = Golden::read(name) else { return };
    golden.states_and_logits();
    golden.mixtures();
    golden.losses();
    golden.greedy();
    golden.beams();
}

#[test]
fn t5_v1_1() {
    check("t5_v1_1");
}

#[test]
fn t5_relu_tied() {
    check("t5_relu_tied");
}

#[test]
fn switch() {
    check("switch");
}

#[test]
fn switch_nodrop() {
    check("switch_nodrop");
}

#[test]
fn mixtral() {
    check("mixtral");
}

#[test]
fn olmoe() {
    check("olmoe");
}

#[test]
fn qwen2_moe() {
    check("qwen2_moe");
}

#[test]
fn nllb_moe() {
    check("nllb_moe");
}

#[test]
fn gpt_oss() {
    check("gpt_oss");
}

#[test]
fn deepseek_v3() {
    check("deepseek_v3");
}
