"""Crypto, stocks and prediction markets: feeds and streams of quotes; one file per service in `sources`."""
