//! As much of RESP as a test says.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Number(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
}

impl Reply {
    pub fn ok() -> Reply {
        Reply::Simple("OK".to_owned())
    }

    pub fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }
}

pub struct Resp {
    stream: BufReader<TcpStream>,
}

impl Resp {
    pub async fn connect(address: SocketAddr) -> io::Result<Resp> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Resp { stream: BufReader::new(stream) })
    }

    pub async fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            // Writing to a string cannot fail.
            let _ = write!(text, "${}\r\n{word}\r\n", word.len());
        }
        self.stream.write_all(text.as_bytes()).await
    }

    pub async fn call(&mut self, words: &[&str]) -> io::Result<Reply> {
        self.send(words).await?;
        self.reply().await
    }

    pub async fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let malformed = || io::Error::other(format!("{line:?} is no reply"));
        let rest = line.get(1..).ok_or_else(malformed)?.trim_end().to_owned();
        let number = rest.parse::<i64>();
        match line.as_bytes()[0] {
            b'+' => Ok(Reply::Simple(rest)),
            b'-' => Ok(Reply::Error(rest)),
            b':' => Ok(Reply::Number(number.map_err(|_| malformed())?)),
            b'$' => match number.map_err(|_| malformed())? {
                -1 => Ok(Reply::Nil),
                len => {
                    let mut bytes = vec![0; len as usize + 2];
                    self.stream.read_exact(&mut bytes).await?;
                    bytes.truncate(len as usize);
                    Ok(Reply::Bulk(bytes))
                }
            },
            b'*' => {
                let mut items = Vec::new();
                for _ in 0..number.map_err(|_| malformed())? {
                    items.push(Box::pin(self.reply()).await?);
                }
                Ok(Reply::Array(items))
            }
            _ => Err(malformed()),
        }
    }

    /// What came and was not read yet, and whatever comes next, as bytes.
    pub fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }
}
