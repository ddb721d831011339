//! Asks the brokers for the ids and partition counts of topics. A topic that was deleted and made again has another id,
//! and nothing else tells it for sure. `rdkafka` wraps no call that returns ids, so this file calls librdkafka itself;
//! it is the only one in the project that may.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as native;
use rdkafka::client::Client;

/// A topic as the brokers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// Its id, in base64, as Kafka's own tools print it.
    pub id: String,
    /// How many partitions it has.
    pub partitions: i32,
}

/// What the brokers say of each of `topics`, in their order: `None` where there is no such topic. Blocks for at most
/// about `timeout`.
pub(super) fn describe<C: ClientContext>(
    client: &Client<C>,
    topics: &[CString],
    timeout: Duration,
) -> Result<Vec<Option<Described>>, String> {
    let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    let mut names: Vec<*const c_char> = topics.iter().map(|topic| topic.as_ptr()).collect();
    // SAFETY: `client` outlives this call, so its handle is valid throughout. `names` points to `topics.len()` strings
    // that outlive the call, and the collection copies them. Options, collection, queue and event are made here, are
    // used by no one else, and are destroyed exactly once, in `Call` and `Event`, the event before its queue.
    // `set_request_timeout` may be given no room for an error text.
    let (_call, event) = unsafe {
        let rk = client.native_ptr();
        let call = Call {
            options: native::rd_kafka_AdminOptions_new(
                rk,
                native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            topics: native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            queue: native::rd_kafka_queue_new(rk),
        };
        native::rd_kafka_AdminOptions_set_request_timeout(call.options, timeout_ms, std::ptr::null_mut(), 0);
        native::rd_kafka_DescribeTopics(rk, call.topics, call.options, call.queue);
        // The request fails by itself in time; a second more, for a main thread that is busy.
        let event = native::rd_kafka_queue_poll(call.queue, timeout_ms.saturating_add(1_000));
        (call, Event(event))
    };
    if event.0.is_null() {
        return Err("the brokers did not describe the topics in time".into());
    }
    // SAFETY: the event is not null and lives until the end of this function; all that is read below belongs to it.
    // Its kind is the one asked for: nothing else is put into our own queue. Strings are copied at once.
    unsafe {
        if native::rd_kafka_event_error(event.0) != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(native::rd_kafka_event_error_string(event.0)));
        }
        let result = native::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err("librdkafka answered with another event".into());
        }
        let mut count = 0;
        let first = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut described = vec![None; topics.len()];
        for index in 0..count {
            let topic = *first.add(index);
            let name = CStr::from_ptr(native::rd_kafka_TopicDescription_name(topic));
            let Some(place) = topics.iter().position(|asked| asked.as_c_str() == name) else { continue };
            let error = native::rd_kafka_TopicDescription_error(topic);
            match native::rd_kafka_error_code(error) {
                native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    let mut partitions = 0;
                    native::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
                    let id = native::rd_kafka_TopicDescription_topic_id(topic);
                    described[place] = Some(Described {
                        id: text(native::rd_kafka_Uuid_base64str(id)),
                        partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
                    });
                }
                native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID => {}
                _ => {
                    let reason = text(native::rd_kafka_error_string(error));
                    return Err(format!("topic {}: {reason}", name.to_string_lossy()));
                }
            }
        }
        Ok(described)
    }
}

/// What a call owns of librdkafka.
struct Call {
    options: *mut native::rd_kafka_AdminOptions_t,
    topics: *mut native::rd_kafka_TopicCollection_t,
    queue: *mut native::rd_kafka_queue_t,
}

impl Drop for Call {
    fn drop(&mut self) {
        // SAFETY: all three were made for this call alone, and librdkafka never returns null for them; a request that
        // is still under way holds references of its own.
        unsafe {
            native::rd_kafka_queue_destroy(self.queue);
            native::rd_kafka_TopicCollection_destroy(self.topics);
            native::rd_kafka_AdminOptions_destroy(self.options);
        }
    }
}

struct Event(*mut native::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event came from our queue and was given to no one; null is allowed.
        unsafe { native::rd_kafka_event_destroy(self.0) }
    }
}

/// # Safety
/// `text` is null or a C string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
