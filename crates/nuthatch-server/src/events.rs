//! Which events of keys are published, as `notify-keyspace-events` says, and how.

use crate::config::SettingValue;
use crate::pubsub::{Kind, PubSub};
use crate::push::Outbox;

bitflags::bitflags! {
    /// Classes of events, and the channels they are published on.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct EventClasses: u32 {
        /// `g`: commands for keys of any type.
        const GENERIC = 1;
        /// `$`: strings.
        const STRING = 1 << 1;
        /// `l`: lists.
        const LIST = 1 << 2;
        /// `s`: sets.
        const SET = 1 << 3;
        /// `h`: hashes.
        const HASH = 1 << 4;
        /// `z`: sorted sets.
        const SORTEDSET = 1 << 5;
        /// `x`: expiry.
        const EXPIRED = 1 << 6;
        /// `e`: eviction.
        const EVICTED = 1 << 7;
        /// `t`: streams.
        const STREAM = 1 << 8;
        /// `d`: modules.
        const MODULE = 1 << 9;
        /// `n`: new keys.
        const NEW = 1 << 10;
        /// `K`: on `__keyspace@0__:<key>`.
        const KEYSPACE = 1 << 11;
        /// `E`: on `__keyevent@0__:<event>`.
        const KEYEVENT = 1 << 12;
        /// `m`: reads of keys that do not exist.
        const MISSED = 1 << 13;
    }
}

impl EventClasses {
    /// `A`: all classes but new keys and misses.
    const ALL_USUAL: Self = Self::GENERIC
        .union(Self::STRING)
        .union(Self::LIST)
        .union(Self::SET)
        .union(Self::HASH)
        .union(Self::SORTEDSET)
        .union(Self::EXPIRED)
        .union(Self::EVICTED)
        .union(Self::STREAM)
        .union(Self::MODULE);

    /// In the order that they are printed in.
    const LETTERS: [(char, Self); 15] = [
        ('A', Self::ALL_USUAL),
        ('g', Self::GENERIC),
        ('$', Self::STRING),
        ('l', Self::LIST),
        ('s', Self::SET),
        ('h', Self::HASH),
        ('z', Self::SORTEDSET),
        ('x', Self::EXPIRED),
        ('e', Self::EVICTED),
        ('t', Self::STREAM),
        ('d', Self::MODULE),
        ('n', Self::NEW),
        ('K', Self::KEYSPACE),
        ('E', Self::KEYEVENT),
        ('m', Self::MISSED),
    ];

    /// Whether anything is published at all: a channel and a class are needed.
    pub fn publishes(self) -> bool {
        let channels = Self::KEYSPACE | Self::KEYEVENT;
        self.intersects(channels) && !(self - channels).is_empty()
    }

    /// Publishes an event of one of these classes on the channels that are wanted.
    pub fn publish(self, name: &str, key: &[u8], pubsub: &PubSub, outbox: &mut Outbox<'_>) {
        if self.contains(Self::KEYSPACE) {
            let channel = [b"__keyspace@0__:", key].concat();
            pubsub.publish(Kind::Channel, &channel, name.as_bytes(), outbox);
        }
        if self.contains(Self::KEYEVENT) {
            let channel = format!("__keyevent@0__:{name}");
            pubsub.publish(Kind::Channel, channel.as_bytes(), key, outbox);
        }
    }
}

impl SettingValue for EventClasses {
    const ALLOWED: &'static str = "letters among A g $ l s h z x e t d n K E m, or nothing";

    fn from_text(text: &str) -> Option<Self> {
        let class = |letter| {
            Self::LETTERS
                .iter()
                .find(|(known, _)| *known == letter)
                .map(|(_, class)| *class)
        };
        text.chars().try_fold(Self::empty(), |classes, letter| {
            Some(classes | class(letter)?)
        })
    }

    fn to_text(&self) -> String {
        let mut left = *self;
        let mut text = String::new();
        for (letter, class) in Self::LETTERS {
            if left.contains(class) && !class.is_empty() {
                left -= class;
                text.push(letter);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::EventClasses;
    use crate::config::SettingValue;

    #[test]
    fn letters_are_printed_in_order_and_together() {
        let printed = |text| EventClasses::from_text(text).map(|classes| classes.to_text());
        assert_eq!(printed("").as_deref(), Some(""));
        assert_eq!(printed("KEA").as_deref(), Some("AKE"));
        assert_eq!(printed("Kxe$m").as_deref(), Some("$xeKm"));
        assert_eq!(printed("g$lshzxetdKE").as_deref(), Some("AKE"));
        assert_eq!(printed("An").as_deref(), Some("An"));
        assert_eq!(printed("KEq"), None);
    }

    #[test]
    fn a_channel_and_a_class_are_needed() {
        let publishes = |text| EventClasses::from_text(text).unwrap().publishes();
        assert!(publishes("Kg") && publishes("Em"));
        assert!(!publishes("KE") && !publishes("A") && !publishes(""));
    }
}
