"""`vegrt serve`: photos and tensors over HTTP, batched for the runner.

server      the process: signals, warm-up                    settings  limits of a service
listening   accepts connections, closes overdue ones         refusal   errors that an answer explains
connection  one connection, and what it waits for            openapi   the description for clients
app         the HTTP routes                                  origins   which web pages may ask
body        a request's bytes within limits -> pixels        metrics   Prometheus
batcher     requests -> batches -> the runner, in one thread
protocol    Open Inference Protocol v2, without HTTP
page        the web page (page.html, page.css, page.js) and its content security policy
"""
