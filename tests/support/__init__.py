"""What tests share: real servers and real daemons."""
