"""Tests of the web: every route over a real socket, and what stands before the routes."""
