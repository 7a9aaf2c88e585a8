//! Who makes most of what everybody does through one operation.

use model::{CredentialId, GrantId};

/// The few who make most of the hits (Misra, Gries 1982): whoever makes more than half is among them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Contributors {
    held: [Option<(CredentialId, GrantId, u32)>; 4],
    all: u32,
}

impl Contributors {
    /// Counts one hit.
    pub(crate) fn add(&mut self, credential: CredentialId, grant: GrantId) {
        self.all = self.all.saturating_add(1);
        let same = self.held.iter_mut().flatten().find(|(c, g, _)| (*c, *g) == (credential, grant));
        if let Some((.., count)) = same {
            *count = count.saturating_add(1);
        } else if let Some(free) = self.held.iter_mut().find(|slot| slot.is_none()) {
            *free = Some((credential, grant, 1));
        } else {
            for slot in &mut self.held {
                *slot = slot.and_then(|(c, g, count)| {
                    Some((c, g, count.checked_sub(1).filter(|left| *left > 0)?))
                });
            }
        }
        // What was long ago counts less, so that the count follows who does it.
        if self.all >= 256 {
            self.all /= 2;
            for (.., count) in self.held.iter_mut().flatten() {
                *count /= 2;
            }
        }
    }

    /// Forgets what this grant made.
    pub(crate) fn forgive(&mut self, grant: GrantId) {
        for slot in &mut self.held {
            *slot = slot.filter(|(_, of, _)| *of != grant);
        }
    }

    /// Who made more than half of what was counted lately.
    pub(crate) fn most(&self) -> Option<(CredentialId, GrantId)> {
        let most = self.held.iter().flatten().max_by_key(|(.., count)| *count)?;
        (most.2 * 2 > self.all).then_some((most.0, most.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_makes_more_than_half_is_named_and_nobody_else() {
        let who = |n: u8| (CredentialId::from_bytes([n; 16]), GrantId::from_bytes([n; 16]));
        let mut contributors = Contributors::default();
        assert_eq!(contributors.most(), None);
        for n in 0..200_u8 {
            let (credential, grant) = who(n);
            contributors.add(credential, grant);
            let (credential, grant) = who(250);
            contributors.add(credential, grant);
            contributors.add(credential, grant);
        }
        assert_eq!(contributors.most(), Some(who(250)));
        for n in 0..200_u8 {
            let (credential, grant) = who(n);
            contributors.add(credential, grant);
        }
        assert_eq!(contributors.most(), None);
    }
}
