"""What engineers meet, as captures that the tests build, and what the inspector should say of each."""
