"""
Create Redis users with least rights, each with a new password.

    python3 deploy/redis/make_users.py --redis redis.internal:6379 --out /etc/tempfleet

writes these files into the directory, readable by their owner only:

    users.acl       for Redis: `aclfile /etc/redis/users.acl`; it contains digests, no passwords
    registry-url    for workers and every process that uses the library: TEMP_FILE_REDIS_URL_FILE
    broker-url      for workers, beats and Flower: TEMP_FILE_BROKER_URL_FILE
    producer-url    for applications that only send messages

The default user is off, so that clients without a user name have no access.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
from pathlib import Path

REGISTRY = (
    "~{namespace}:*",
    "+ping +hello +select +info +time +eval +evalsha",
    "+zadd +zrem +zcard +zcount +zscore +zrange +zrevrange +zrangebyscore +zrangebylex +zremrangebyrank +zscan +unlink",
    "+hset +hget +hdel +hlen +hexists +hmget +hgetall +hincrby +hscan",
)
"""All commands that the library and its scripts send. None of them reads or deletes other keys."""

BROKER = (
    "~{namespace} ~{namespace}??[369] ~{namespace}.host.* ~_kombu.binding* ~unacked* ~celeryev.* ~*celery.pidbox*",
    "&/{database}.* &/{database}.celery.pidbox &/{database}.celeryev/* &/{database}.celeryev/worker.*",
    "+ping +hello +select +info +time",
    "+lpush +rpush +rpop +brpop +llen +exists +del +expire +pexpire",
    "+sadd +srem +smembers",
    "+hset +hget +hdel +zadd +zrem +zrange +zrangebyscore +zrevrangebyscore",
    "+multi +exec +discard +watch +unwatch +publish +subscribe +psubscribe +unsubscribe +punsubscribe",
    "+set +get +evalsha +eval +script|load +script|exists",
)
"""All commands of Celery's Redis transport for queues, events and remote control. Two bytes and a digit after a queue's
name are a priority. A pattern that Celery subscribes to must be listed literally."""

PRODUCER = (
    "~{namespace} ~{namespace}??[369] ~_kombu.binding*.{namespace}",
    "+ping +hello +select +info +lpush +llen +sadd +smembers +multi +exec",
)
"""Sends to the shared queue only. It can neither read messages nor reach a host's own queue."""

USERS = {"registry": REGISTRY, "broker": BROKER, "producer": PRODUCER}


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    names = {"namespace": options.namespace, "database": options.database}
    lines = ["user default off"]
    for role, rights in USERS.items():
        password = secrets.token_urlsafe(32)
        name = f"{options.namespace}-{role}"
        digest = hashlib.sha256(password.encode()).hexdigest()
        lines.append(f"user {name} on #{digest} {' '.join(rights).format(**names)}")
        url = f"{options.scheme}://{name}:{password}@{options.redis}/{options.database}"
        _write(options.out / f"{role}-url", url + options.query + "\n")
    _write(options.out / "users.acl", "\n".join(lines) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the directory to write into")
    parser.add_argument("--redis", default="localhost:6379", metavar="HOST:PORT")
    parser.add_argument("--database", default="0")
    parser.add_argument("--namespace", default="tempfleet", help="TEMP_FILE_NAMESPACE")
    parser.add_argument("--scheme", choices=("redis", "rediss"), default="redis", help="rediss is TLS")
    parser.add_argument(
        "--query", default="", help="goes behind each URL, such as ?ssl_ca_certs=/etc/ssl/ca.pem"
    )
    return parser.parse_args()


def _write(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)


if __name__ == "__main__":
    main()
