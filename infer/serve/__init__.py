"""`vegrt serve`: photos and tensors over HTTP, batched for the runner.

server    the process: sockets, signals, warm-up            settings  limits of a service
app       the HTTP routes                                    refusal   errors that an answer explains
batcher   requests -> batches -> the runner, in one thread   upload    a request's body -> pixels
protocol  Open Inference Protocol v2, without HTTP           metrics   Prometheus
page      the web page and its content security policy
"""
