"""What all routes share: authentication, errors, request bodies, pagination, limits, and the OpenAPI description."""
