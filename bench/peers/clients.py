# SPDX-License-Identifier: Apache-2.0
"""The clients of other caches, used as fast as they allow: batches where they take batches, straight into memory where
they can.

Each has put_layers(layers) and get_layers(layers, on_first), for lists of a layer's keys and the memory of its items, where
on_first() is called when the first layer has arrived, get_one(key, view), and clear(), which makes it forget all items. What
must know its memory has register(view). Items end up in the memory that was named: a client that makes memory of its own copies
them there.
"""

import ctypes
import select
import socket
import subprocess
import urllib.request

from servers import Infinistore, LmcacheServer, Mooncake, Redis, free_port


def address(view):
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def get_in_turn(client, layers, on_first):
    """One item after the other."""
    for number, (keys, views) in enumerate(layers):
        for key, view in zip(keys, views):
            client.get_one(key, view)
        if number == 0:
            on_first()


class LmcacheResp:
    """LMCache's C++ client for Redis, with the eight threads of its own default."""

    name, server, version_of = "LMCache RESP + Redis", Redis, "lmcache"

    def __init__(self, server):
        from lmcache.lmcache_redis import LMCacheRedisClient
        self.client = LMCacheRedisClient("127.0.0.1", server.port, 8)
        self.port = server.port

    def _wait(self, submitted, on_done):
        left = set(submitted)
        while left:
            select.select([self.client.event_fd()], [], [])
            for number, good, error, _ in self.client.drain_completions():
                if not good:
                    raise RuntimeError(f"LMCache RESP: {error}")
                left.discard(number)
                on_done(number)

    def put_layers(self, layers):
        self._wait([self.client.submit_batch_set(keys, views) for keys, views in layers], lambda _: None)

    def get_layers(self, layers, on_first):
        submitted = [self.client.submit_batch_get(keys, views) for keys, views in layers]
        self._wait(submitted, lambda number: on_first() if number == submitted[0] else None)

    def get_one(self, key, view):
        self._wait([self.client.submit_batch_get([key], [view])], lambda _: None)

    def clear(self):
        subprocess.run(["redis-cli", "-p", str(self.port), "flushall"], check=True, stdout=subprocess.DEVNULL)


class RedisPy:
    """redis-py with hiredis, the client that most use. One command an item: of MGET, pipelines and that the fastest."""

    name, server, version_of = "Redis, redis-py", Redis, "redis"

    def __init__(self, server):
        import redis
        self.client = redis.Redis("127.0.0.1", server.port)

    def put_layers(self, layers):
        for keys, views in layers:
            pipeline = self.client.pipeline(transaction=False)
            for key, view in zip(keys, views):
                pipeline.set(key, view)
            pipeline.execute()

    def get_layers(self, layers, on_first):
        get_in_turn(self, layers, on_first)

    def get_one(self, key, view):
        view[:] = self.client.get(key)

    def clear(self):
        self.client.flushall()


class LmcacheOwn:
    """LMCache's own server, spoken to as its LMCServerConnector does: one socket, received in place."""

    name, server, version_of = "LMCache server", LmcacheServer, "lmcache"

    def __init__(self, server):
        import torch
        from lmcache.utils import CacheEngineKey
        from lmcache.v1 import protocol
        from lmcache.v1.memory_management import MemoryFormat
        self.torch, self.protocol, self.format, self.key_type = torch, protocol, MemoryFormat, CacheEngineKey
        self.socket = socket.create_connection(("127.0.0.1", server.port))

    def _key(self, key):
        return self.key_type("bench", 1, 0, hash(key) & (1 << 62) - 1, self.torch.uint8)

    def _say(self, command, key, size):
        shape = self.torch.Size([size, 0, 0, 0])
        message = self.protocol.ClientMetaMessage(command, self._key(key), size, self.format.BINARY, self.torch.uint8, shape)
        self.socket.sendall(message.serialize())

    def _answer(self):
        wanted = self.protocol.ServerMetaMessage.packlength()
        answer = self.protocol.ServerMetaMessage.deserialize(self.socket.recv(wanted, socket.MSG_WAITALL))
        if answer.code != self.protocol.ServerReturnCode.SUCCESS:
            raise RuntimeError("LMCache server: not there")

    def put_layers(self, layers):
        for keys, views in layers:
            for key, view in zip(keys, views):
                self._say(self.protocol.ClientCommand.PUT, key, len(view))
                self.socket.sendall(view)
        self._say(self.protocol.ClientCommand.EXIST, layers[-1][0][-1], 0)  # puts have no answer
        self._answer()

    def get_one(self, key, view):
        self._say(self.protocol.ClientCommand.GET, key, 0)
        self._answer()
        received = 0
        while received < len(view):
            received += self.socket.recv_into(view[received:])

    def get_layers(self, layers, on_first):
        get_in_turn(self, layers, on_first)

    def clear(self):
        """It cannot forget: what is put again takes the place of what was there."""


class InfinistoreTcp:
    """InfiniStore over TCP: its reads make their own memory."""

    name, server, version_of = "InfiniStore", Infinistore, "infinistore"

    def __init__(self, server):
        import infinistore
        self.connection = infinistore.InfinityConnection(infinistore.ClientConfig(
            host_addr="127.0.0.1", service_port=server.port, connection_type=infinistore.TYPE_TCP))
        self.connection.connect()
        self.manage_port = server.manage_port

    def put_layers(self, layers):
        for keys, views in layers:
            for key, view in zip(keys, views):
                self.connection.tcp_write_cache(key, address(view), len(view))

    def get_one(self, key, view):
        view[:] = memoryview(self.connection.tcp_read_cache(key))

    def get_layers(self, layers, on_first):
        get_in_turn(self, layers, on_first)

    def clear(self):
        request = urllib.request.Request(f"http://127.0.0.1:{self.manage_port}/purge", method="POST")
        urllib.request.urlopen(request).read()


class MooncakeStore:
    """Mooncake Store over TCP: a batch a layer, between registered buffers."""

    name, server, version_of = "Mooncake", Mooncake, "mooncake-transfer-engine-non-cuda"

    def __init__(self, server):
        from mooncake.store import MooncakeDistributedStore
        self.store = MooncakeDistributedStore()
        self._check(self.store.setup(f"127.0.0.1:{free_port()}", "P2PHANDSHAKE", 0, 64 << 20, "tcp", "",
                                     f"127.0.0.1:{server.port}"), "setup")

    def register(self, view):
        self._check(self.store.register_buffer(address(view), len(view)), "register_buffer")

    def _check(self, result, what, wanted=0):
        results = result if isinstance(result, list) else [result]
        bad = [each for each in results if each != wanted]
        if bad:
            raise RuntimeError(f"Mooncake: {what} returned {bad[0]}")

    def put_layers(self, layers):
        for keys, views in layers:
            self._check(self.store.batch_put_from(keys, [address(view) for view in views], [len(view) for view in views]), "put")

    def get_layers(self, layers, on_first):
        for number, (keys, views) in enumerate(layers):
            self._check(self.store.batch_get_into(keys, [address(view) for view in views], [len(view) for view in views]), "get",
                        len(views[0]))
            if number == 0:
                on_first()

    def clear(self):
        self.store.remove_all(force=True)

    def get_one(self, key, view):
        self._check(self.store.get_into(key, address(view), len(view)), "get", len(view))


CLIENTS = {client.name: client for client in (LmcacheResp, LmcacheOwn, RedisPy, MooncakeStore, InfinistoreTcp)}
