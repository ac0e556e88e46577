//! One connection to a broker: requests are written as they come, answers are matched in order.
//!
//! The problem: an answer may be large, late, or not Kafka's at all, and a request whose answer never comes must not
//! hold up its caller for ever. The idea: frames are bounded, each call has a deadline, and a connection on which a
//! deadline passed is ended, because answers come in order and everything behind the late one is late too.

use super::error::LinkError;
use super::guarded::Guarded;
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};
use primacy_core::Moment;
use primacy_runtime::{Stream, Task};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

/// The largest answer that is read. Larger ones are the sign of another protocol: "HTTP" read as a length is 1.2 GB.
const FRAME_BYTES_MAX: usize = 128 << 20;

/// The largest answer that is decoded as a whole: everything but records.
const DECODED_BYTES_MAX: usize = 32 << 20;

/// Requests that wait to be written.
const QUEUED_MAX: usize = 64;

/// Small reads and writes are gathered up to this many bytes; larger ones pass by the buffer.
const BUFFER_BYTES: usize = 32 << 10;

/// The highest versions used of requests that would otherwise carry topic ids or batched keys, which the oldest
/// supported broker lacks; everything else is bounded by the broker and the library alone.
const VERSIONS_MAX: [(ApiKey, i16); 8] = [
    (ApiKey::Metadata, 12),
    (ApiKey::ListOffsets, 6),
    (ApiKey::OffsetCommit, 8),
    (ApiKey::OffsetFetch, 7),
    (ApiKey::FindCoordinator, 3),
    (ApiKey::DeleteTopics, 5),
    (ApiKey::InitProducerId, 4),
    (ApiKey::CreateTopics, 7),
];

/// An open connection with the versions its broker supports.
pub struct Connection {
    wire: Wire,
    versions: BTreeMap<i16, (i16, i16)>,
}

impl Connection {
    pub(super) fn new(wire: Wire, versions: BTreeMap<i16, (i16, i16)>) -> Connection {
        Connection { wire, versions }
    }

    /// Who is at the other end.
    pub fn address(&self) -> &str {
        self.wire.address()
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.wire.task.is_finished()
    }

    /// The versions of a request that the broker supports.
    pub fn versions_of(&self, key: ApiKey) -> Option<(i16, i16)> {
        self.versions.get(&(key as i16)).copied()
    }

    /// Asks in the highest version that both sides know.
    ///
    /// # Errors
    /// Those of the link. After a timeout the connection is closed.
    pub async fn call<R: Request>(&self, request: &R, within: Duration) -> Result<R::Response, LinkError> {
        let version = self.negotiated::<R>()?;
        self.wire.call_version(request, version, within).await
    }

    /// Sends a request that is already encoded, in the order of the calls, and returns what to await: what follows the
    /// correlation id of the answer.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        key: ApiKey,
        version: i16,
        body: Vec<Bytes>,
        within: Duration,
    ) -> Result<impl Future<Output = Result<BytesMut, LinkError>> + Send + use<>, LinkError> {
        let (low, high) = self.versions_of(key).unwrap_or((0, -1));
        if !(low..=high).contains(&version) {
            return Err(self.unsupported(&format!("{key:?} {version}")));
        }
        let header =
            RequestHeader::default().with_request_api_key(key as i16).with_request_api_version(version);
        let deadline = primacy_runtime::now().after(within);
        let answered = self.wire.send(header, 1, body, deadline).await?;
        let connection = self.clone();
        Ok(async move { connection.wire.receive(answered, deadline).await })
    }

    fn negotiated<R: Request>(&self) -> Result<i16, LinkError> {
        let key = ApiKey::try_from(R::KEY).map_err(|()| self.unsupported(&R::KEY.to_string()))?;
        let cap = VERSIONS_MAX.iter().find(|(capped, _)| *capped == key).map_or(i16::MAX, |(_, max)| *max);
        let known = <R as Message>::VERSIONS;
        let (low, high) = self.versions_of(key).unwrap_or((0, -1));
        let version = high.min(known.max).min(cap);
        if version >= low.max(known.min) { Ok(version) } else { Err(self.unsupported(&format!("{key:?}"))) }
    }

    fn unsupported(&self, request: &str) -> LinkError {
        LinkError::Unsupported { address: self.address().to_owned(), request: request.to_owned() }
    }
}

/// The connection before anything is known about its broker.
pub(super) struct Wire {
    address: String,
    client_id: StrBytes,
    correlation: AtomicI32,
    outgoing: mpsc::Sender<Outgoing>,
    ending: Arc<Mutex<Option<LinkError>>>,
    task: Task<()>,
}

struct Outgoing {
    correlation: i32,
    segments: Vec<Bytes>,
    answer: oneshot::Sender<BytesMut>,
}

type Awaited = (i32, oneshot::Sender<BytesMut>);

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>, address: &str, client_id: &str) -> Wire {
        let (outgoing, queue) = mpsc::channel(QUEUED_MAX);
        let ending = Arc::new(Mutex::new(None));
        let task = primacy_runtime::spawn(serve(stream, queue, address.to_owned(), ending.clone()));
        Wire {
            address: address.to_owned(),
            client_id: StrBytes::from_string(client_id.to_owned()),
            correlation: AtomicI32::new(0),
            outgoing,
            ending,
            task,
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) async fn call_version<R: Request>(
        &self,
        request: &R,
        version: i16,
        within: Duration,
    ) -> Result<R::Response, LinkError> {
        let wrong = |e: &dyn std::fmt::Display| LinkError::protocol(&self.address, e.to_string());
        let mut body = BytesMut::new();
        request.encode(&mut body, version).map_err(|e| wrong(&e))?;
        let header = RequestHeader::default().with_request_api_key(R::KEY).with_request_api_version(version);
        let header_version = R::header_version(version);
        let deadline = primacy_runtime::now().after(within);
        let answered = self.send(header, header_version, vec![body.freeze()], deadline).await?;
        let answer = self.receive(answered, deadline).await?;
        decode::<R>(answer.freeze(), version).map_err(|e| wrong(&e))
    }

    async fn send(
        &self,
        header: RequestHeader,
        header_version: i16,
        body: Vec<Bytes>,
        deadline: Moment,
    ) -> Result<oneshot::Receiver<BytesMut>, LinkError> {
        let correlation = self.correlation.fetch_add(1, Ordering::Relaxed);
        let header = header.with_correlation_id(correlation).with_client_id(Some(self.client_id.clone()));
        let mut head = BytesMut::from(&[0; 4][..]);
        header
            .encode(&mut head, header_version)
            .map_err(|e| LinkError::protocol(&self.address, e.to_string()))?;
        let length = head.len() - 4 + body.iter().map(Bytes::len).sum::<usize>();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        head[..4].copy_from_slice(&length.to_be_bytes());
        let mut segments = vec![head.freeze()];
        segments.extend(body);

        let (answer, answered) = oneshot::channel();
        let sending = self.outgoing.send(Outgoing { correlation, segments, answer });
        match primacy_runtime::timeout_at(deadline, sending).await {
            Ok(Ok(())) => Ok(answered),
            Ok(Err(_)) => Err(self.ended()),
            Err(_) => Err(self.expire()),
        }
    }

    async fn receive(
        &self,
        answered: oneshot::Receiver<BytesMut>,
        deadline: Moment,
    ) -> Result<BytesMut, LinkError> {
        match primacy_runtime::timeout_at(deadline, answered).await {
            Ok(answer) => answer.map_err(|_| self.ended()),
            Err(_) => Err(self.expire()),
        }
    }

    /// Ends the connection: what is behind a late answer is late too.
    fn expire(&self) -> LinkError {
        self.end(LinkError::Timeout(self.address.clone()));
        self.task.abort();
        LinkError::Timeout(self.address.clone())
    }

    fn end(&self, error: LinkError) {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn ended(&self) -> LinkError {
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ending.unwrap_or_else(|| LinkError::closed(&self.address, "it was given up"))
    }
}

fn decode<R: Request>(answer: Bytes, version: i16) -> Result<R::Response, String> {
    if answer.len() > DECODED_BYTES_MAX {
        return Err(format!("an answer of {} bytes", answer.len()));
    }
    let flexible = <R::Response as HeaderVersion>::header_version(version) >= 1;
    let mut answer = Guarded::new(answer, flexible);
    if flexible {
        // The correlation id is read already; what is left of the header are tagged fields.
        let tags = answer.try_get_u8().map_err(|e| e.to_string())?;
        if tags != 0 {
            return Err("its header has fields that nobody asked for".into());
        }
    }
    R::Response::decode(&mut answer, version).map_err(|e| e.to_string())
}

/// Carries requests and answers until either side ends.
async fn serve(
    stream: Box<dyn Stream>,
    queue: mpsc::Receiver<Outgoing>,
    address: String,
    ending: Arc<Mutex<Option<LinkError>>>,
) {
    let (read, write) = tokio::io::split(stream);
    let (awaited, answers) = mpsc::unbounded_channel();
    let writing = std::pin::pin!(write_requests(write, queue, awaited));
    let reading = std::pin::pin!(read_answers(read, answers, &address));
    let error = match futures::future::select(writing, reading).await {
        futures::future::Either::Left((reason, _)) => LinkError::closed(&address, reason),
        futures::future::Either::Right((error, _)) => error,
    };
    ending.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

async fn write_requests(
    write: WriteHalf<Box<dyn Stream>>,
    mut queue: mpsc::Receiver<Outgoing>,
    awaited: mpsc::UnboundedSender<Awaited>,
) -> String {
    let mut write = BufWriter::with_capacity(BUFFER_BYTES, write);
    while let Some(Outgoing { correlation, segments, answer }) = queue.recv().await {
        if awaited.send((correlation, answer)).is_err() {
            break;
        }
        for segment in segments {
            if let Err(e) = write.write_all(&segment).await {
                return e.to_string();
            }
        }
        if queue.is_empty()
            && let Err(e) = write.flush().await
        {
            return e.to_string();
        }
    }
    "it was given up".into()
}

async fn read_answers(
    read: ReadHalf<Box<dyn Stream>>,
    mut answers: mpsc::UnboundedReceiver<Awaited>,
    address: &str,
) -> LinkError {
    let mut read = BufReader::with_capacity(BUFFER_BYTES, read);
    loop {
        let head = async { Ok((read.read_i32().await?, read.read_i32().await?)) };
        let (length, correlation) = match head.await {
            Ok(head) => head,
            Err(e) => return LinkError::closed(address, io::Error::to_string(&e)),
        };
        let length = usize::try_from(length).unwrap_or(0);
        if !(4..=FRAME_BYTES_MAX).contains(&length) {
            return LinkError::protocol(address, format!("an answer of {length} bytes"));
        }
        let Ok((expected, answer)) = answers.try_recv() else {
            return LinkError::protocol(address, "an answer to nothing");
        };
        if correlation != expected {
            return LinkError::protocol(address, "an answer to another request");
        }
        match read_body(&mut read, length - 4).await {
            // Who asked may have gone away.
            Ok(body) => drop(answer.send(body)),
            Err(e) => return LinkError::closed(address, e.to_string()),
        }
    }
}

async fn read_body(read: &mut BufReader<ReadHalf<Box<dyn Stream>>>, length: usize) -> io::Result<BytesMut> {
    let mut body = BytesMut::with_capacity(length);
    while body.len() < length {
        let rest = (length - body.len()) as u64;
        if read.take(rest).read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};
    use tokio::io::duplex;

    const SOON: Duration = Duration::from_secs(10);

    /// A wire whose other end answers the first request with these bytes and then ends.
    async fn answered_with(bytes: Vec<u8>) -> LinkError {
        let (near, mut far) = duplex(1 << 16);
        let wire = Wire::new(Box::new(near), "broker:9092", "test");
        let answering = tokio::spawn(async move {
            let mut request = [0; 16];
            far.read_exact(&mut request).await.unwrap();
            far.write_all(&bytes).await.unwrap();
            far.shutdown().await.unwrap();
            far
        });
        let answer = wire.call_version(&MetadataRequest::default(), 9, SOON).await;
        drop(answering);
        answer.unwrap_err()
    }

    #[tokio::test]
    async fn bytes_of_another_protocol_end_the_connection() {
        let error = answered_with(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
        assert!(matches!(error, LinkError::Protocol { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_absurd_length_inside_an_answer_is_an_error() {
        let mut bytes = vec![0, 0, 0, 14, 0, 0, 0, 0, 0];
        bytes.extend([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        let error = answered_with(bytes).await;
        assert!(matches!(error, LinkError::Protocol { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_answer_to_another_request_ends_the_connection() {
        let error = answered_with(vec![0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0]).await;
        assert!(error.to_string().contains("another request"), "{error}");
    }

    #[tokio::test]
    async fn the_end_of_the_connection_answers_whoever_waits() {
        assert!(matches!(answered_with(vec![0, 0, 0]).await, LinkError::Closed { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_ends_the_connection() {
        let (near, _far) = duplex(1 << 16);
        let wire = Wire::new(Box::new(near), "broker:9092", "test");
        let soon = Duration::from_millis(10);
        let answer = wire.call_version(&ApiVersionsRequest::default(), 2, soon).await;
        assert_eq!(answer.unwrap_err(), LinkError::Timeout("broker:9092".into()));
    }
}
