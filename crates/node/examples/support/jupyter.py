# A Jupyter kernel: from its start to the first result, and from a request to its result. Argument: the code.
import statistics
import sys
import time

from jupyter_client.manager import KernelManager


def execute(client, code):
    request = client.execute(code)
    while True:
        message = client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") == request and message["msg_type"] == "stream":
            return


starts, again = [], []
for _ in range(5):
    began = time.perf_counter()
    kernel = KernelManager(kernel_name="python3")
    kernel.start_kernel()
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    execute(client, sys.argv[1])
    starts.append(time.perf_counter() - began)
    for _ in range(40):
        began = time.perf_counter()
        execute(client, "print(1)")
        again.append(time.perf_counter() - began)
    client.stop_channels()
    kernel.shutdown_kernel(now=True)
print(*(round(statistics.median(times) * 1e6) for times in (starts, again)))
