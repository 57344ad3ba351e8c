//! The kernels are compiled to what the design counts on: wide registers, fused multiplication and addition,
//! dot products of narrow numbers. Reads this program's own machine code with `objdump`.

#![cfg(target_arch = "x86_64")]

mod common;

use std::process::Command;

use mixlet_core::linear::{Linear, LinearShape, Operands, Scratch, linear_scratch_len};
use mixlet_core::matrix::{MatMut, MatRef};
use mixlet_core::moe::experts::{Experts, FfnKind, GroupedRows};
use mixlet_core::weights::Weights;
use mixlet_runtime::moe::experts_forward;
use mixlet_runtime::simd::{LinearForward, wide};

/// The instructions of every function whose name holds all of these parts.
fn instructions(listing: &str, parts: &[&str]) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in listing.lines() {
        match line.strip_suffix(">:") {
            Some(name) => inside = parts.iter().all(|part| name.contains(part)),
            None if inside => found.push(line.trim().to_owned()),
            None => {}
        }
    }
    found
}

fn count(instructions: &[String], parts: &[&str]) -> usize {
    instructions.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
}

/// Keeps the kernels in this program.
fn use_kernels() {
    let values = [0.5; 64];
    let matrix = MatRef::new(&values, 8, 8).unwrap();
    let (linear, mut out) = (Linear::new(Weights::F32(matrix)), [0.0; 64]);
    let least = linear_scratch_len(LinearShape { rows: 8, inputs: 8, outputs: 8 });
    let mut floats = vec![0.0; least.floats];
    let scratch = Scratch { floats: &mut floats, halves: &mut [], bytes: &mut [] };
    let to = MatMut::new(&mut out, 8, 8).unwrap();
    wide(LinearForward { linear, operands: Operands::Exact, x: matrix, out: to, scratch }).unwrap();
    assert_eq!(out, [2.0; 64]);
    let kind = FfnKind::Plain(mixlet_core::activation::Activation::Relu);
    let experts = Experts::new(1, kind, None, linear, linear).unwrap();
    let rows = GroupedRows::new(matrix, &[0, 8]).unwrap();
    experts_forward(experts, Operands::Exact, rows, MatMut::new(&mut out, 8, 8).unwrap()).unwrap();
    assert_eq!(out, [8.0; 64]);
}

#[test]
fn kernels_use_the_wide_registers() {
    use_kernels();
    let program = std::env::current_exe().unwrap();
    let tool =
        Command::new("objdump").args(["-d", "--no-show-raw-insn", "-M", "intel"]).arg(program).output();
    let Some(output) = tool.ok().filter(|output| output.status.success()) else {
        eprintln!("skipped: no objdump, which comes with the Debian package binutils");
        return;
    };
    let listing = String::from_utf8_lossy(&output.stdout);
    struct Case {
        function: &'static [&'static str],
        registers: &'static str,
        instruction: &'static str,
        least: usize,
    }
    // A tile of four by 64 takes 16 fused multiplications a step with registers of 64 bytes, and 8 for a
    // quarter of it with registers of 32.
    let cases = [
        Case {
            function: &["with_avx512", "LinearForward"],
            registers: "zmm",
            instruction: "vfmadd",
            least: 16,
        },
        Case {
            function: &["with_avx512", "HiddenForward"],
            registers: "zmm",
            instruction: "vfmadd",
            least: 16,
        },
        Case { function: &["with_avx2", "LinearForward"], registers: "ymm", instruction: "vfmadd", least: 8 },
        Case { function: &["with_avx2", "HiddenForward"], registers: "ymm", instruction: "vfmadd", least: 8 },
        Case { function: &["bf16_"], registers: "zmm", instruction: "vdpbf16ps", least: 24 },
        Case { function: &["int8_dots"], registers: "zmm", instruction: "vpdpbusd", least: 16 },
        Case { function: &["int4_dots"], registers: "zmm", instruction: "vpdpbusd", least: 32 },
    ];
    for Case { function, registers, instruction, least } in cases {
        let found = instructions(&listing, function);
        // Sums of narrow numbers may be functions of their own, or part of the kernel.
        let found = if function.len() == 1 {
            [found, instructions(&listing, &["with_avx512_dot"])].concat()
        } else {
            found
        };
        let wide = count(&found, &[registers, instruction]);
        let all = count(&found, &[instruction]);
        assert!(
            wide >= least,
            "{function:?}: {wide} of {all} {instruction} use {registers}, in {} lines",
            found.len()
        );
    }
}
