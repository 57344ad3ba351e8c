//! Activation functions of feed-forward networks and their derivatives, free of branches so that loops vectorise.

/// What a feed-forward network applies between its matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Activation {
    /// `max(x, 0)`; the derivative at 0 is 0.
    Relu,
    /// `x · σ(x)`, also called swish.
    Silu,
    /// `x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) / 2`: T5 v1.1, GPT-2.
    GeluTanh,
    /// `x · Φ(x)` with the normal distribution function: Hendrycks & Gimpel 2016.
    GeluErf,
}

/// `√(2/π)`.
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
/// `1 / √(2π)`.
const NORMAL_PEAK: f32 = 0.398_942_3;
/// The cubic term of [`Activation::GeluTanh`].
const CUBIC: f32 = 0.044_715;

impl Activation {
    /// The function.
    ///
    /// ```
    /// # use mixlet_core::activation::Activation;
    /// assert_eq!(Activation::Relu.value(-2.0), 0.0);
    /// assert!((Activation::Silu.value(1.0) - 0.731_058_6).abs() < 1e-6);
    /// assert!((Activation::GeluTanh.value(1.0) - 0.841_192).abs() < 1e-6);
    /// assert!((Activation::GeluErf.value(1.0) - 0.841_344_7).abs() < 1e-6);
    /// ```
    #[inline(always)]
    pub fn value(self, x: f32) -> f32 {
        self.value_and_slope(x).0
    }

    /// The function and its derivative.
    ///
    /// ```
    /// # use mixlet_core::activation::Activation;
    /// let (value, slope) = Activation::Silu.value_and_slope(0.0);
    /// assert_eq!((value, slope), (0.0, 0.5));
    /// ```
    #[inline(always)]
    pub fn value_and_slope(self, x: f32) -> (f32, f32) {
        match self {
            Self::Relu => (if x <= 0.0 { 0.0 } else { x }, if x > 0.0 { 1.0 } else { 0.0 }),
            Self::Silu => {
                let s = sigmoid(x);
                (x * s, s * (1.0 + x * (1.0 - s)))
            }
            Self::GeluTanh => {
                // (1 + tanh u) / 2 = σ(2u).
                let square = x * x;
                let s = sigmoid(2.0 * SQRT_2_OVER_PI * x * (1.0 + CUBIC * square));
                let inner_slope = 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * square);
                (x * s, s + x * s * (1.0 - s) * inner_slope)
            }
            Self::GeluErf => {
                let (distribution, density) = normal(x);
                (x * distribution, distribution + x * density)
            }
        }
    }
}

/// `1 / (1 + e⁻ˣ)`; exactly 0 and 1 far out, never NaN for a number.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `eˣ` to 2 units in the last place; 0 below −87, infinite above 88.
///
/// `x = n·ln 2 + r`, `|r| ≤ ln 2 / 2`, and `eʳ` by its series.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// `1.5 · 2²³`: adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let clamped = if clamped > 88.0 { 88.0 } else { clamped };
    let shifted = clamped * core::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mut series = 1.0 / 5040.0; // 1 / 7!
    for inverse_factorial in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * r + inverse_factorial;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let value = series * power;
    let value = if x < -87.0 { 0.0 } else { value };
    if x > 88.0 { f32::INFINITY } else { value }
}

/// The normal distribution function and its density.
///
/// `Φ(−a) = e^(−a²/2) · p(t)`, `t = 1 / (1 + q·a/√2)`, absolute error below 1e-7: Abramowitz & Stegun 7.1.26.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let magnitude = x.abs() * core::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * magnitude);
    let series = [1.421_413_7, -0.284_496_74, 0.254_829_6];
    let polynomial = series.iter().fold(1.061_405_4 * t - 1.453_152, |sum, term| sum * t + term) * t;
    let gauss = exp(-magnitude * magnitude);
    let tail = 0.5 * polynomial * gauss;
    (if x > 0.0 { 1.0 - tail } else { tail }, NORMAL_PEAK * gauss)
}
