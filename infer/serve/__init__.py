"""`vegrt serve`: photos and tensors over HTTP, batched for the runner.

server      the process: signals, warm-up                    settings  limits of a service
listening   accepting, at most so many; overdue clients      refusal   errors that an answer explains
connection  one connection, and what it waits for            openapi   the description for clients
app         the HTTP routes                                  origins   which web pages may ask
body        a request's bytes, in time                       upload    a body -> pixels
batcher     requests -> batches -> the runner, in one thread
protocol    Open Inference Protocol v2, without HTTP         metrics   Prometheus
page        the web page and its content security policy
"""
