//! 128-bit ids: keyed hashes of what producers send, so that no table holds a raw identifier.
//!
//! An [`Id`] orders like its 16 bytes read big-endian, which is how Arrow, Delta and SQL compare them.
//! [`Id::NONE`] (all zero bytes) stands for *absent*, so that rows stay fixed-size; tables write it as null.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::symbols::Symbol;
use crate::units::EventTime;

/// A 128-bit hash, in two words so that rows need no 16-byte alignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id {
    hi: u64,
    lo: u64,
}

impl Id {
    /// Absent.
    pub const NONE: Id = Id { hi: 0, lo: 0 };

    /// The id of 16 big-endian bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Id {
        let value = u128::from_be_bytes(bytes);
        Id { hi: (value >> 64) as u64, lo: value as u64 }
    }

    /// The 16 big-endian bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.hi) << 64 | u128::from(self.lo)).to_be_bytes()
    }

    /// Whether this is [`Id::NONE`].
    pub fn is_none(self) -> bool {
        self == Id::NONE
    }

    /// A word that is uniformly distributed over ids, for routing between workers.
    pub fn route(self) -> u64 {
        self.lo
    }

    /// The other word: two ids with the same [`Id::route`] and the same rest are one.
    pub fn rest(self) -> u64 {
        self.hi
    }

    fn xor(self, hi: u64, lo: u64) -> Id {
        Id { hi: self.hi ^ hi, lo: self.lo ^ lo }
    }
}

macro_rules! id_types {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub Id);

        impl $name {
            /// Absent.
            pub const NONE: $name = $name(Id::NONE);
            /// Whether this is absent.
            pub fn is_none(self) -> bool {
                self.0.is_none()
            }
            /// This, unless absent.
            pub fn some(self) -> Option<$name> {
                (!self.is_none()).then_some(self)
            }
        }
    )*};
}

id_types! {
    /// A producer's own user id, hashed with its tenant.
    UserId;
    /// An advertising or vendor device id (IDFA, GAID, own), hashed with its tenant.
    DeviceId;
    /// A click id, hashed with its tenant.
    ClickId;
    /// A login (e-mail, account name), hashed with its tenant.
    LoginId;
    /// A producer's event id, hashed with its tenant.
    EventId;
    /// What `identify` events link: a user, a device or a login.
    LinkedId;
    /// Whom an event is about: its user, else its device, else its click id, else [`Subject::NONE`].
    Subject;
    /// An IPv4 address, or the /64 of an IPv6 address, hashed with its tenant.
    IpHash;
    /// Address, operating system with major version and device model, hashed; absent when any part is.
    Fingerprint;
    /// The identity of an event: a hash of (tenant, subject, event id, event time). Copies share it.
    EventKey;
    /// What touches and conversions are matched on: one of four kinds of key within a (tenant, app).
    JoinKey;
    /// The first 16 bytes of the SHA-256 of a record's value.
    PayloadHash;
}

impl EventKey {
    /// The identity of an event. All copies of an event have the same four parts.
    pub fn of(tenant: Symbol, subject: Subject, event_id: EventId, event_time: EventTime) -> EventKey {
        let mut bytes = [0u8; 48];
        bytes[..8].copy_from_slice(&tenant.0.to_be_bytes());
        bytes[8..24].copy_from_slice(&subject.0.to_bytes());
        bytes[24..40].copy_from_slice(&event_id.0.to_bytes());
        bytes[40..].copy_from_slice(&event_time.0.to_be_bytes());
        EventKey(truncated(&blake3::hash(&bytes)))
    }
}

impl JoinKey {
    /// The key of a person (device, else user) in an app.
    pub fn person(app: Symbol, device: DeviceId, user: UserId) -> Option<JoinKey> {
        JoinKey::device(app, device).or_else(|| JoinKey::user(app, user))
    }

    /// The key of a device in an app.
    pub fn device(app: Symbol, device: DeviceId) -> Option<JoinKey> {
        device.some().map(|device| JoinKey::within(app, device.0, 1))
    }

    /// The key of a user in an app.
    pub fn user(app: Symbol, user: UserId) -> Option<JoinKey> {
        user.some().map(|user| JoinKey::within(app, user.0, 2))
    }

    /// The key of a click id in an app.
    pub fn click(app: Symbol, click: ClickId) -> Option<JoinKey> {
        click.some().map(|click| JoinKey::within(app, click.0, 3))
    }

    /// The key of a fingerprint in an app.
    pub fn fingerprint(app: Symbol, fingerprint: Fingerprint) -> Option<JoinKey> {
        fingerprint.some().map(|fingerprint| JoinKey::within(app, fingerprint.0, 4))
    }

    /// Ids already hash the tenant and are uniform, so mixing in app and kind needs no second hash: within an app and
    /// kind the map is one-to-one, and across them two keys meet as rarely as two random 128-bit words.
    fn within(app: Symbol, id: Id, kind: u64) -> JoinKey {
        let word = (app.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind.wrapping_mul(0xd6e8_feb8_6659_fd93);
        JoinKey(id.xor(word, word.rotate_left(32)))
    }
}

impl PayloadHash {
    /// The hash of a record's value.
    pub fn of(value: &[u8]) -> PayloadHash {
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&Sha256::digest(value)[..16]);
        PayloadHash(Id::from_bytes(bytes))
    }
}

/// An id with its tenant and kind that is hashed without an allocation or a second look.
const ID_BYTES_SHORT: usize = 256;

/// Makes keyed hashes, so that ids cannot be guessed back from a table and tenants never meet in one.
#[derive(Clone)]
pub struct IdHasher {
    key: [u8; 32],
}

impl IdHasher {
    /// A hasher with the key derived from `secret`. Keep the secret: another one gives other ids.
    pub fn new(secret: &[u8]) -> IdHasher {
        IdHasher { key: blake3::derive_key("bidstream ids 1", secret) }
    }

    /// The hash of `raw` for a tenant. `kind` keeps equal strings of different kinds apart.
    pub fn hash(&self, kind: IdKind, tenant: &str, raw: &[u8]) -> Id {
        let (kind, tenant_bytes) = ([kind as u8], (tenant.len() as u32).to_be_bytes());
        let parts = [&kind[..], &tenant_bytes, tenant.as_bytes(), raw];
        // All at once is half the work of part by part.
        let (mut all, mut length) = ([0u8; ID_BYTES_SHORT], 0);
        for part in parts {
            let Some(place) = all.get_mut(length..length + part.len()) else {
                let mut hasher = blake3::Hasher::new_keyed(&self.key);
                for part in parts {
                    hasher.update(part);
                }
                return truncated(&hasher.finalize());
            };
            place.copy_from_slice(part);
            length += part.len();
        }
        truncated(&blake3::keyed_hash(&self.key, &all[..length]))
    }
}

/// What a hashed id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum IdKind {
    /// [`UserId`]
    User = 1,
    /// [`DeviceId`]
    Device = 2,
    /// [`ClickId`]
    Click = 3,
    /// [`LoginId`]
    Login = 4,
    /// [`EventId`]
    Event = 5,
    /// [`IpHash`]
    Ip = 6,
    /// [`Fingerprint`]
    Fingerprint = 7,
}

impl IdKind {
    /// All kinds.
    pub const ALL: [IdKind; 7] =
        [IdKind::User, IdKind::Device, IdKind::Click, IdKind::Login, IdKind::Event, IdKind::Ip, IdKind::Fingerprint];

    /// The name in tables, and before an id that `bidstream get` is given.
    pub fn name(self) -> &'static str {
        match self {
            IdKind::User => "user",
            IdKind::Device => "device",
            IdKind::Click => "click",
            IdKind::Login => "login",
            IdKind::Event => "event",
            IdKind::Ip => "ip",
            IdKind::Fingerprint => "fingerprint",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<IdKind> {
        IdKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

fn truncated(hash: &blake3::Hash) -> Id {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    Id::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_order_like_their_bytes() {
        let low = Id::from_bytes([0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255]);
        let high = Id::from_bytes([0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(low < high && low.to_bytes() < high.to_bytes());
        assert_eq!(Id::from_bytes(low.to_bytes()), low);
    }

    #[test]
    fn a_payload_hash_is_the_head_of_its_sha_256() {
        let head = 0xba78_16bf_8f01_cfea_4141_40de_5dae_2223_u128;
        assert_eq!(PayloadHash::of(b"abc"), PayloadHash(Id::from_bytes(head.to_be_bytes())));
    }

    #[test]
    fn an_id_hashes_its_parts_in_order_however_long() {
        let hasher = IdHasher::new(b"a");
        for length in [0, 1, 200, 246, 247, 248, 249, 1_000] {
            let raw = vec![b'x'; length];
            let mut parts = blake3::Hasher::new_keyed(&hasher.key);
            parts.update(&[IdKind::User as u8]).update(&4u32.to_be_bytes()).update(b"shop").update(&raw);
            assert_eq!(hasher.hash(IdKind::User, "shop", &raw), truncated(&parts.finalize()), "{length}");
        }
    }

    #[test]
    fn tenants_kinds_and_keys_never_meet() {
        let hasher = IdHasher::new(b"a");
        let user = hasher.hash(IdKind::User, "shop", b"u1");
        assert_eq!(user, IdHasher::new(b"a").hash(IdKind::User, "shop", b"u1"));
        assert_ne!(user, hasher.hash(IdKind::Device, "shop", b"u1"));
        assert_ne!(user, hasher.hash(IdKind::User, "shopu", b"1"));
        assert_ne!(user, IdHasher::new(b"b").hash(IdKind::User, "shop", b"u1"));
    }

    #[test]
    fn join_keys_tell_app_and_kind_apart() {
        let id = IdHasher::new(b"a").hash(IdKind::User, "shop", b"u1");
        let (web, ios) = (Symbol::of("web"), Symbol::of("ios"));
        let person = JoinKey::person(web, DeviceId(id), UserId::NONE);
        assert_ne!(person, JoinKey::person(ios, DeviceId(id), UserId::NONE));
        assert_ne!(person, JoinKey::person(web, DeviceId::NONE, UserId(id)));
        assert_ne!(person, JoinKey::click(web, ClickId(id)));
        assert_eq!(JoinKey::person(web, DeviceId::NONE, UserId::NONE), None);
    }
}
