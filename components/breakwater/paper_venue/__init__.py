"""A simulated Binance USDⓈ-M futures exchange that unmodified clients can trade on.

`PaperVenue` is the pure core; `http` and the memory transports carry it; `markets` give it prices.
"""
