// SPDX-License-Identifier: Apache-2.0
// InfiniStore's server wants an RDMA device even when all its clients come over TCP. This stands before libibverbs on
// machines without one: a device that can be opened and can do nothing else. No byte of a TCP client goes through it.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// What its callers read of the structs of infiniband/verbs.h; the rest is zero.
struct blob {
  uint8_t bytes[4096];
};
struct memory {  // ibv_mr
  void* context;
  void* domain;
  void* address;
  size_t length;
  uint32_t handle, local_key, remote_key;
};
static struct blob device, context, domain, queue;
static void* devices[] = {&device, NULL};

void** ibv_get_device_list(int* count) {
  if (count != NULL) *count = 1;
  return devices;
}
void ibv_free_device_list(void** list) { (void)list; }
const char* ibv_get_device_name(void* of) { return (void)of, "none"; }
void* ibv_open_device(void* of) { return *(void**)&context = of, &context; }  // ibv_context begins with its device
int ibv_close_device(void* of) { return (void)of, 0; }
int ibv_query_port(void* of, uint8_t port, void* attributes) {
  // ibv_port_attr begins with state, max_mtu, active_mtu: active, 4096 bytes. The port's number is all that is checked.
  const int32_t head[] = {4, 5, 5, 1};
  memcpy(attributes, head, sizeof head);
  ((uint16_t*)attributes)[34 / 2] = 1;   // lid
  ((uint8_t*)attributes)[46] = 1;        // link_layer: InfiniBand
  return (void)of, (void)port, 0;
}
int ibv_query_gid(void* of, uint8_t port, int index, void* gid) {
  memset(gid, 0, 16);
  return (void)of, (void)port, (void)index, 0;
}
void* ibv_alloc_pd(void* of) { return *(void**)&domain = of, &domain; }
int ibv_dealloc_pd(void* of) { return (void)of, 0; }
void* ibv_reg_mr(void* of, void* address, size_t length, int access) {
  struct memory* registered = calloc(1, sizeof *registered);
  registered->context = &context;
  registered->domain = of;
  registered->address = address;
  registered->length = length;
  return (void)access, registered;
}
int ibv_dereg_mr(void* registered) { return free(registered), 0; }
void* ibv_create_comp_channel(void* of) { return (void)of, &queue; }
int ibv_destroy_comp_channel(void* of) { return (void)of, 0; }
