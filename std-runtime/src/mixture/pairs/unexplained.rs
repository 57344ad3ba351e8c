//! The most dependent columns.

/// Two columns, and what they tell about each other within a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dependence {
    /// The class.
    pub class: usize,
    /// The columns, the lower one first.
    pub columns: [u32; 2],
    /// `I_k(i, j)`, in nats.
    pub information: f64,
}

/// What classes leave unexplained.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unexplained {
    /// The pair of largest information in any class; none if no two columns depend on each other beyond chance. Ties go to
    /// the lower class, then to the lower columns.
    pub most_dependent: Option<Dependence>,
    /// `max_(i, j) Σ_k π_k · I_k(i, j)`.
    pub most_information: f64,
}

impl Unexplained {
    /// Keeps a pair that is more dependent than the one so far, or as dependent and before it.
    pub(super) fn take(&mut self, pair: Dependence) {
        let place = |pair: &Dependence| (pair.class, pair.columns);
        let is_better = self.most_dependent.is_none_or(|best| {
            pair.information > best.information
                || pair.information == best.information && place(&pair) < place(&best)
        });
        if is_better {
            self.most_dependent = Some(pair);
        }
    }
}
