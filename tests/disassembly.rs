//! The kernels are compiled to what the design counts on: wide registers, fused multiplication and addition,
//! dot products of narrow numbers. Reads this program's own machine code with `objdump`.

#![cfg(target_arch = "x86_64")]

use std::process::Command;

use mixlet_core::linear::{Linear, Operands};
use mixlet_core::matrix::{MatMut, MatRef};
use mixlet_core::moe::experts::{Experts, FfnKind, GroupedRows};
use mixlet_core::weights::Weights;
use mixlet_runtime::moe::experts_forward;

/// How often, at most, an instruction occurs with such registers in one of the functions of that name.
fn most(listing: &str, function: &str, instruction: &str, registers: &str) -> usize {
    let (mut inside, mut count, mut most) = (false, 0, 0);
    for line in listing.lines() {
        if let Some(name) = line.strip_suffix(">:") {
            (inside, count) = (name.contains(function), 0);
        } else if inside && line.contains(instruction) && line.contains(registers) {
            count += 1;
            most = most.max(count);
        }
    }
    most
}

/// Keeps the kernels in this program.
fn use_kernels() {
    let values = [0.5; 64];
    let matrix = MatRef::new(&values, 8, 8).unwrap();
    let (linear, mut out) = (Linear::new(Weights::F32(matrix)), [f32::NAN; 64]);
    let kind = FfnKind::Plain(mixlet_core::activation::Activation::Relu);
    let experts = Experts::new(1, kind, None, linear, linear).unwrap();
    let rows = GroupedRows::new(matrix, &[0, 8]).unwrap();
    experts_forward(experts, Operands::Exact, rows, MatMut::new(&mut out, 8, 8).unwrap()).unwrap();
    assert_eq!(out, [8.0; 64], "8 · 0.5 · (8 · 0.5 · 0.5)");
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
        function: &'static str,
        instruction: &'static str,
        registers: &'static str,
        least: usize,
    }
    let cases = [
        // A step of four outputs by 64 rows takes 16 registers of 64 bytes; a quarter of it, 8 of 32 bytes.
        Case { function: "with_avx512_dot", instruction: "vfmadd", registers: "zmm", least: 16 },
        Case { function: "with_avx512", instruction: "vfmadd", registers: "zmm", least: 16 },
        Case { function: "with_avx2", instruction: "vfmadd", registers: "ymm", least: 8 },
        // Six rows by four outputs.
        Case { function: "f32_dots", instruction: "vfmadd", registers: "zmm", least: 24 },
        Case { function: "bf16_dots", instruction: "vdpbf16ps", registers: "zmm", least: 24 },
        // Four rows by four outputs, and one more instruction a row for the offset; twice that for int4.
        Case { function: "int8_dots", instruction: "vpdpbusd", registers: "zmm", least: 20 },
        Case { function: "int4_dots", instruction: "vpdpbusd", registers: "zmm", least: 40 },
        // A single row: four outputs, twice.
        Case { function: "int4_row", instruction: "vpdpbusd", registers: "zmm", least: 8 },
        Case { function: "f16_dots", instruction: "vcvtph2ps", registers: "zmm", least: 4 },
        Case { function: "exact_bf16_dots", instruction: "vfmadd", registers: "zmm", least: 4 },
        Case { function: "exact_int8_dots", instruction: "vfmadd", registers: "zmm", least: 4 },
        // Panels: four outputs by 64 rows.
        Case { function: "bf16_panel", instruction: "vdpbf16ps", registers: "zmm", least: 16 },
        Case { function: "int8_panel", instruction: "vpdpbusd", registers: "zmm", least: 16 },
        Case { function: "int4_panel", instruction: "vpdpbusd", registers: "zmm", least: 16 },
    ];
    for Case { function, instruction, registers, least } in cases {
        let found = most(&listing, function, instruction, registers);
        assert!(
            found >= least,
            "{function}: {found} of {instruction} with {registers}, expected {least} or more"
        );
    }
}
