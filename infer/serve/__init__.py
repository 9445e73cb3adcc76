"""`vegrt serve`: photos and tensors over HTTP, batched for the runner.

server      the process: signals, warm-up                    settings  limits of a service
listening   accepts connections, closes overdue ones         refusal   errors and their HTTP status
connection  one connection and its state                     requests  what counts as an HTTP request
app         the HTTP routes                                  origins   web pages that may use the service
                                                             openapi   the API description
body        request body within limits -> pixels             metrics   Prometheus
batcher     requests -> batches -> the runner, in one thread   clients  the share of each client
protocol    Open Inference Protocol v2, without HTTP
page        the web page (page.html, page.css, page.js) and its content security policy
"""
